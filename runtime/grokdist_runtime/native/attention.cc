// Attention of one new token of each sequence over a cache, for CPUs.
//
// Keys and values are read once, where they lie in the stack of all layers, as float32 or int8, and
// no further than the last place that a token may see; XLA copies the layer out first, all of it.
// The softmax is taken a block of places at a time, with the largest logit so far (Milakov and
// Gimelshein 2018), and places are divided among threads, whose parts are put together at the end.

#include <cstdint>
#include <cstring>
#include <vector>

#include "exponential.h"
#include "ffi.h"
#include "row_dot.h"
#include "threads.h"

namespace {

using namespace grokdist;

constexpr int64_t kBlock = 32;     // places whose keys and values fit the first-level cache
// Fixed, so that a result depends on neither threads nor other sequences.
constexpr int64_t kJobPlaces = 512;
constexpr int kTogether = 4;       // queries for which a key is widened once
constexpr float kLowest = -1e30f;

struct Attention {
  const float* queries;  // [B, K, G, D]
  const uint8_t* mask;   // [B, S]
  const float* key_scales;    // [B, K, S] of this layer, or none
  const float* value_scales;
  float* out;  // [B, K, G, D]
  int64_t heads, group, depth, places;
  float cap;
};

// What some places come to for the queries of one head: of each query the largest logit, the sum of
// exp(logit - largest), and the values [G, D] weighted so.
struct Share {
  std::vector<float> largest, sums, mixed;

  explicit Share(const Attention& a)
      : largest(a.group, kLowest), sums(a.group), mixed(a.group * a.depth) {}
};

void scale(float* row, int64_t depth, float factor) {
  for (int64_t d = 0; d < depth; ++d) row[d] *= factor;
}

// row[d] += the sum over p of weights[p] * values[p][d].
template <typename Value>
void add_values(const float* weights, const Value* values, int64_t places, int64_t depth,
                float* row) {
  constexpr int kVectors = 8;
  int64_t d = 0;
  for (; d + kVectors * kLanes <= depth; d += kVectors * kLanes) {
    Floats sums[kVectors];
    for (int i = 0; i < kVectors; ++i) sums[i] = load(row + d + i * kLanes);
    for (int64_t p = 0; p < places; ++p) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i)
        sums[i] += weights[p] * widen(values + p * depth + d + i * kLanes);
    }
    for (int i = 0; i < kVectors; ++i) store(row + d + i * kLanes, sums[i]);
  }
  for (; d + kLanes <= depth; d += kLanes) {
    Floats sum = load(row + d);
    for (int64_t p = 0; p < places; ++p) sum += weights[p] * widen(values + p * depth + d);
    store(row + d, sum);
  }
  for (; d < depth; ++d)
    for (int64_t p = 0; p < places; ++p) row[d] += weights[p] * widen_one(values + p * depth + d);
}

// logits[g * kBlock] for `count` queries g and one key.
template <typename Value>
void put_logits(const float* queries, int64_t count, int64_t depth, const Value* key,
                float* logits) {
  for (int64_t g = 0; g < count; g += kTogether) {
    const int together = count - g < kTogether ? count - g : kTogether;
    const float* rows[kTogether];
    for (int i = 0; i < together; ++i) rows[i] = queries + (g + i) * depth;
    float found[kTogether];
    switch (together) {
      case 1: products<1>(rows, key, depth, found); break;
      case 2: products<2>(rows, key, depth, found); break;
      case 3: products<3>(rows, key, depth, found); break;
      default: products<4>(rows, key, depth, found);
    }
    for (int i = 0; i < together; ++i) logits[(g + i) * kBlock] = found[i];
  }
}

// Adds the places `first` to `last` of one head of one sequence to a share.
template <typename Value>
void attend(const Attention& a, const Value* keys, const Value* values, int64_t row, int64_t head,
            int64_t first, int64_t last, Share* share) {
  const int64_t at = row * a.heads + head;
  const uint8_t* mask = a.mask + row * a.places;
  std::vector<float> logits(a.group * kBlock);
  for (int64_t begin = first; begin < last; begin += kBlock) {
    const int64_t places = last - begin < kBlock ? last - begin : kBlock;
    const int64_t place = at * a.places + begin;
    for (int64_t p = 0; p < places; ++p)
      put_logits(a.queries + at * a.group * a.depth, a.group, a.depth, keys + (place + p) * a.depth,
                 &logits[p]);
    for (int64_t g = 0; g < a.group; ++g) {
      float* row_logits = &logits[g * kBlock];
      if (a.key_scales)
        for (int64_t p = 0; p < places; ++p) row_logits[p] *= a.key_scales[place + p];
      for (int64_t p = places; p < kBlock; ++p) row_logits[p] = 0;
      for (int64_t p = 0; p < kBlock; p += kLanes)
        store(row_logits + p, a.cap * hyperbolic_tangent(load(row_logits + p)));
      float largest = share->largest[g];
      for (int64_t p = 0; p < places; ++p)
        if (mask[begin + p] && row_logits[p] > largest) largest = row_logits[p];
      const float shrink = exponential(Floats{} + (share->largest[g] - largest))[0];
      share->largest[g] = largest;
      for (int64_t p = 0; p < kBlock; p += kLanes)
        store(row_logits + p, exponential(load(row_logits + p) - largest));
      float sum = 0;
      for (int64_t p = 0; p < places; ++p) {
        if (!mask[begin + p]) row_logits[p] = 0;
        sum += row_logits[p];
        if (a.value_scales) row_logits[p] *= a.value_scales[place + p];
      }
      share->sums[g] = share->sums[g] * shrink + sum;
      float* mixed = &share->mixed[g * a.depth];
      if (shrink != 1) scale(mixed, a.depth, shrink);
      add_values(row_logits, values + place * a.depth, places, a.depth, mixed);
    }
  }
}

// Puts the shares of one head of one sequence together, in their order.
void finish(const Attention& a, const Share* shares, int64_t count, float* out) {
  for (int64_t g = 0; g < a.group; ++g, out += a.depth) {
    float largest = kLowest, sum = 0;
    for (int64_t i = 0; i < count; ++i)
      largest = shares[i].largest[g] > largest ? shares[i].largest[g] : largest;
    std::memset(out, 0, sizeof(float) * a.depth);
    for (int64_t i = 0; i < count; ++i) {
      const float factor = exponential(Floats{} + (shares[i].largest[g] - largest))[0];
      sum += factor * shares[i].sums[g];
      for (int64_t d = 0; d < a.depth; ++d) out[d] += factor * shares[i].mixed[g * a.depth + d];
    }
    // A token that may see nothing gets zeros.
    if (sum > 0) scale(out, a.depth, 1 / sum);
  }
}

struct Job {
  int64_t row, head, first, last;
};

template <typename Value>
void run(XLA_FFI_CallFrame* frame, const Attention& a, int64_t batch, const Value* keys,
         const Value* values) {
  const int64_t threads = thread_count(frame);
  std::vector<Job> jobs;
  std::vector<int64_t> begins;
  for (int64_t row = 0; row < batch; ++row) {
    int64_t seen = a.places;
    while (seen && !a.mask[row * a.places + seen - 1]) --seen;
    for (int64_t head = 0; head < a.heads; ++head) {
      begins.push_back(jobs.size());
      for (int64_t first = 0; first < seen; first += kJobPlaces)
        jobs.push_back({row, head, first, first + kJobPlaces < seen ? first + kJobPlaces : seen});
    }
  }
  begins.push_back(jobs.size());
  std::vector<Share> shares(jobs.size(), Share(a));
  parallel(frame, threads, jobs.size(), [&](int64_t i) {
    const Job& job = jobs[i];
    attend(a, keys, values, job.row, job.head, job.first, job.last, &shares[i]);
  });
  for (int64_t head = 0; head < batch * a.heads; ++head)
    finish(a, shares.data() + begins[head], begins[head + 1] - begins[head],
           a.out + head * a.group * a.depth);
}

template <typename Value>
const Value* of_layer(const XLA_FFI_Buffer* stack, int64_t layer) {
  int64_t size = 1;
  for (int64_t i = 1; i < stack->rank; ++i) size *= stack->dims[i];
  return static_cast<const Value*>(stack->data) + layer * size;
}

}  // namespace

// Arguments: queries [B, K, G, D] float32; keys and values [L, B, K, S, D] float32 or int8; layer []
// int32; mask [B, S] bool; for int8 the scales of keys and values [L, B, K, S] float32. Attribute:
// cap, float32. Result: [B, K, G, D] float32.
GROKDIST_KERNEL attention(XLA_FFI_CallFrame* frame) {
  if (asks_for_metadata(frame)) return metadata(frame);
  const XLA_FFI_Buffer *queries = argument(frame, 0), *keys = argument(frame, 1);
  const XLA_FFI_Buffer *values = argument(frame, 2), *mask = argument(frame, 4);
  const int64_t layer = *static_cast<const int32_t*>(argument(frame, 3)->data);
  const bool scaled = frame->args.size > 5;
  const auto* cap = static_cast<const XLA_FFI_Scalar*>(frame->attrs.attrs[0]);
  const Attention a = {
      static_cast<const float*>(queries->data),
      static_cast<const uint8_t*>(mask->data),
      scaled ? of_layer<float>(argument(frame, 5), layer) : nullptr,
      scaled ? of_layer<float>(argument(frame, 6), layer) : nullptr,
      static_cast<float*>(result(frame, 0)->data),
      queries->dims[1],
      queries->dims[2],
      queries->dims[3],
      mask->dims[1],
      *static_cast<const float*>(cap->value),
  };
  if (scaled)
    run(frame, a, queries->dims[0], of_layer<int8_t>(keys, layer), of_layer<int8_t>(values, layer));
  else
    run(frame, a, queries->dims[0], of_layer<float>(keys, layer), of_layer<float>(values, layer));
  return nullptr;
}
