// Products of float32 rows with the rows of a float32 or bfloat16 table, for CPUs: the output head.
//
// Each row of the table is read once, in the order in which it lies in memory, and widened in
// registers; sums are float32.

#include <cstdint>
#include <cstring>

#include "ffi.h"
#include "float_rows.h"
#include "threads.h"

namespace {

using namespace grokdist;

constexpr int kSums = 4;     // for each row, so that additions do not wait for one another
constexpr int kTogether = 4;  // rows of x for which a row of the table is widened once
constexpr int64_t kJobRows = 64;

inline float widen_one(const uint16_t* p) {
  const uint32_t bits = static_cast<uint32_t>(*p) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline float widen_one(const float* p) { return *p; }

inline Floats widen(const float* p) { return load(p); }

inline Floats widen(const uint16_t* p) {
#if defined(__AVX512F__)
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
#elif defined(__AVX2__)
  return _mm256_castsi256_ps(_mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
#else
  Floats v;
  for (int i = 0; i < kLanes; ++i) v[i] = widen_one(p + i);
  return v;
#endif
}

// out[m] = the product of x[m] with one row of the table.
template <int kRows, typename Value>
void products(const float* const* x, const Value* row, int64_t depth, float* out) {
  Floats sums[kRows][kSums] = {};
  int64_t k = 0;
  for (; k + kSums * kLanes <= depth; k += kSums * kLanes) {
#pragma GCC unroll 4
    for (int i = 0; i < kSums; ++i) {
      const Floats values = widen(row + k + i * kLanes);
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) sums[m][i] += load(x[m] + k + i * kLanes) * values;
    }
  }
  for (int m = 0; m < kRows; ++m) {
    Floats total = sums[m][0];
    for (int i = 1; i < kSums; ++i) total += sums[m][i];
    out[m] = 0;
    for (int i = 0; i < kLanes; ++i) out[m] += total[i];
  }
  for (; k < depth; ++k)
    for (int m = 0; m < kRows; ++m) out[m] += x[m][k] * widen_one(row + k);
}

// out[m][v] for the rows `first` to `last` of the table.
template <typename Value>
void rows_of(const float* x, int64_t count, int64_t depth, const Value* table, int64_t table_rows,
             int64_t first, int64_t last, float* out) {
  for (int64_t v = first; v < last; ++v) {
    const Value* row = table + v * depth;
    for (int64_t m = 0; m < count; m += kTogether) {
      const int together = count - m < kTogether ? count - m : kTogether;
      const float* rows[kTogether];
      for (int i = 0; i < together; ++i) rows[i] = x + (m + i) * depth;
      float found[kTogether];
      switch (together) {
        case 1: products<1>(rows, row, depth, found); break;
        case 2: products<2>(rows, row, depth, found); break;
        case 3: products<3>(rows, row, depth, found); break;
        default: products<4>(rows, row, depth, found);
      }
      for (int i = 0; i < together; ++i) out[(m + i) * table_rows + v] = found[i];
    }
  }
}

}  // namespace

// Arguments: x [R, K] float32; table [V, K] float32 or bfloat16. Result: [R, V] float32.
GROKDIST_KERNEL row_products(XLA_FFI_CallFrame* frame) {
  if (asks_for_metadata(frame)) return metadata(frame);
  const XLA_FFI_Buffer *x = argument(frame, 0), *table = argument(frame, 1);
  const int64_t count = x->dims[0], depth = x->dims[1], table_rows = table->dims[0];
  const auto* from = static_cast<const float*>(x->data);
  auto* out = static_cast<float*>(result(frame, 0)->data);
  const int64_t jobs = (table_rows + kJobRows - 1) / kJobRows;
  parallel(frame, thread_count(frame), jobs, [&](int64_t job) {
    const int64_t first = job * kJobRows;
    const int64_t last = first + kJobRows < table_rows ? first + kJobRows : table_rows;
    if (table->dtype == XLA_FFI_DataType_BF16)
      rows_of(from, count, depth, static_cast<const uint16_t*>(table->data), table_rows, first,
              last, out);
    else
      rows_of(from, count, depth, static_cast<const float*>(table->data), table_rows, first, last,
              out);
  });
  return nullptr;
}
