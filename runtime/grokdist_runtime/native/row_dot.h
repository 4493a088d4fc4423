// Products of float32 rows with rows of float32, bfloat16 or int8, which are widened in registers.

#ifndef GROKDIST_ROW_DOT_H_
#define GROKDIST_ROW_DOT_H_

#include <cstdint>
#include <cstring>

#include "float_rows.h"

namespace grokdist {

constexpr int kSums = 4;     // for each row, so that additions do not wait for one another

inline float widen_one(const uint16_t* p) {
  const uint32_t bits = static_cast<uint32_t>(*p) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline float widen_one(const float* p) { return *p; }

inline float widen_one(const int8_t* p) { return *p; }

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

inline float sum_of(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(v);
#else
  float lanes[kLanes];
  store(lanes, v);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
#endif
}

// out[m] = the product of x[m] with one row of `depth` values.
template <int kRows, typename Value>
inline void products(const float* const* x, const Value* row, int64_t depth, float* out) {
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
    out[m] = sum_of(total);
  }
  for (; k < depth; ++k)
    for (int m = 0; m < kRows; ++m) out[m] += x[m][k] * widen_one(row + k);
}

}  // namespace grokdist

#endif  // GROKDIST_ROW_DOT_H_
