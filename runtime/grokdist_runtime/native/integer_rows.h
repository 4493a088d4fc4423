// One row at a time in integers, for processors with AVX-512 VNNI: half the instructions of float32,
// so that a core keeps up with its memory.
//
// Activations are rounded to 24 bits, as many as a float32 has, with one step for each group of
// scales, and taken apart into three bytes; four products of bytes are summed by one instruction,
// exactly. The instruction takes one operand without sign, so 128 is added to the weights, and 128
// times the sum of the activations taken off in the end.

#ifndef GROKDIST_INTEGER_ROWS_H_
#define GROKDIST_INTEGER_ROWS_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

#include "stack.h"

namespace grokdist {

constexpr int kBytes = 3;
constexpr int32_t kLargest = 127 * 65536;  // leaves room to round up

// One row's part that shares a step: x[k] is about
// step * (65536 * bytes[0][k] + 256 * bytes[1][k] + bytes[2][k]).
struct Rounded {
  std::vector<int8_t> bytes[kBytes];
  float step;
  int32_t sum[kBytes];  // of the bytes, times 128
};

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

// Sums of products must stay within 32 bits: those of 65536 rows, 255 * 128 each, do.
inline bool integers_fit(int64_t depth, int64_t groups) {
  return depth / groups % 4 == 0 && depth / groups <= 65536;
}

inline __mmask16 lanes(int64_t left) { return left >= 16 ? 0xffff : (1u << left) - 1; }

inline Rounded rounded(const float* x, int64_t depth) {
  __m512 largest = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k += 16) {
    const __m512 values = _mm512_maskz_loadu_ps(lanes(depth - k), x + k);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(values));
    odd = _mm512_fmadd_ps(values, _mm512_setzero_ps(), odd);  // 0 unless one is no number
  }
  const float size = _mm512_reduce_max_ps(largest);
  const bool finite = _mm512_reduce_add_ps(odd) == 0;
  Rounded to;
  // Where a value is not finite no result is a number.
  to.step = finite ? size / kLargest : NAN;
  const __m512 inverse = _mm512_set1_ps(finite && size > 0 ? kLargest / size : 0);
  for (auto& bytes : to.bytes) bytes.resize(depth);
  __m512i sum[kBytes] = {};
  for (int64_t k = 0; k < depth; k += 16) {
    const __mmask16 mask = lanes(depth - k);
    __m512i rest = _mm512_setzero_si512();
    if (finite)
      rest = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + k), inverse));
    for (int b = kBytes - 1; b >= 0; --b) {
      const __m512i byte = _mm512_srai_epi32(_mm512_slli_epi32(rest, 24), 24);
      rest = _mm512_srai_epi32(_mm512_sub_epi32(rest, byte), 8);
      _mm512_mask_cvtepi32_storeu_epi8(to.bytes[b].data() + k, mask, byte);
      sum[b] = _mm512_add_epi32(sum[b], byte);
    }
  }
  for (int b = 0; b < kBytes; ++b) to.sum[b] = 128 * _mm512_reduce_add_epi32(sum[b]);
  return to;
}

constexpr int64_t kStreamQuads = 4;  // rows of weights read side by side, in fours
constexpr int64_t kAheadQuads = 8;   // rows that are asked for before they are needed
constexpr int kTile = 64;            // columns whose sums stand in registers

// Sums of one tile: four vectors for each byte of the activations.
struct Sums {
  __m512i at[kBytes][4];
};

inline __m512i four(const int8_t* x) {
  int32_t bytes;
  std::memcpy(&bytes, x, 4);
  return _mm512_set1_epi32(bytes);
}

// Adds `quads` times four rows of a tile. Four rows of 64 bytes become four vectors whose 32-bit
// lanes hold a column of four each: lane 4 * l + e of vector j is column 16 * l + 4 * j + e.
inline void add_quads(const int8_t* w, int64_t stride, __mmask64 mask, int64_t quads,
                      const int8_t* const* x, Sums* sums) {
  const __m512i offset = _mm512_set1_epi8(-128);
  Sums sum = *sums;
  for (int64_t q = 0; q < quads; ++q, w += 4 * stride) {
    // A row's part is a short run of memory, which the processor alone finds too late.
    for (int i = 0; i < 4; ++i) __builtin_prefetch(w + (4 * kAheadQuads + i) * stride, 0, 1);
    const __m512i a = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, w), offset);
    const __m512i b = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, w + stride), offset);
    const __m512i c = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, w + 2 * stride), offset);
    const __m512i d = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, w + 3 * stride), offset);
    const __m512i ab_left = _mm512_unpacklo_epi8(a, b), ab_right = _mm512_unpackhi_epi8(a, b);
    const __m512i cd_left = _mm512_unpacklo_epi8(c, d), cd_right = _mm512_unpackhi_epi8(c, d);
    const __m512i weights[4] = {
        _mm512_unpacklo_epi16(ab_left, cd_left), _mm512_unpackhi_epi16(ab_left, cd_left),
        _mm512_unpacklo_epi16(ab_right, cd_right), _mm512_unpackhi_epi16(ab_right, cd_right)};
#pragma GCC unroll 3
    for (int i = 0; i < kBytes; ++i) {
      const __m512i activations = four(x[i] + 4 * q);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
        sum.at[i][j] = _mm512_dpbusd_epi32(sum.at[i][j], weights[j], activations);
    }
  }
  *sums = sum;
}

// The four vectors in the order of the columns.
inline void reorder(const __m512i* at, __m512i* in_order) {
  const __m512i even_left = _mm512_shuffle_i32x4(at[0], at[1], 0x88);
  const __m512i even_right = _mm512_shuffle_i32x4(at[2], at[3], 0x88);
  const __m512i odd_left = _mm512_shuffle_i32x4(at[0], at[1], 0xdd);
  const __m512i odd_right = _mm512_shuffle_i32x4(at[2], at[3], 0xdd);
  in_order[0] = _mm512_shuffle_i32x4(even_left, even_right, 0x88);
  in_order[1] = _mm512_shuffle_i32x4(odd_left, odd_right, 0x88);
  in_order[2] = _mm512_shuffle_i32x4(even_left, even_right, 0xdd);
  in_order[3] = _mm512_shuffle_i32x4(odd_left, odd_right, 0xdd);
}

// out[c] = scale[c] * step * the sum of the tile's column c, for `columns` of them.
inline void put_scaled(const Sums& sums, const Rounded& x, const float* scale, int64_t columns,
                       float* out) {
  __m512i in_order[kBytes][4];
  for (int b = 0; b < kBytes; ++b) reorder(sums.at[b], in_order[b]);
  for (int i = 0; i < 4 && 16 * i < columns; ++i) {
    const __mmask16 mask = lanes(columns - 16 * i);
    __m512 sum = _mm512_setzero_ps();
    for (int b = 0; b < kBytes; ++b) {
      const __m512i exact = _mm512_sub_epi32(in_order[b][i], _mm512_set1_epi32(x.sum[b]));
      sum = _mm512_fmadd_ps(sum, _mm512_set1_ps(256), _mm512_cvtepi32_ps(exact));
    }
    const __m512 factor =
        _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, scale + 16 * i), _mm512_set1_ps(x.step));
    _mm512_mask_storeu_ps(out + 16 * i, mask, _mm512_mul_ps(sum, factor));
  }
}

// out[first : first + width] for one row and the rows of one group of scales of one matrix.
inline void integer_group(const Product& p, const Weights& w, int64_t matrix, int64_t row,
                          int64_t group, int64_t first, int64_t width, float* out) {
  const int64_t depth = p.depth / w.groups, tiles = (width + kTile - 1) / kTile;
  const int64_t at = matrix * w.groups + group;
  const int8_t* values = w.values + at * depth * w.columns + first;
  const float* scales = w.scales + at * w.columns + first;
  const Rounded x = rounded(p.x + row / p.fan * p.depth + group * depth, depth);
  std::vector<Sums> sums(tiles);
  for (int64_t q = 0; q < depth / 4; q += kStreamQuads) {
    const int64_t quads = depth / 4 - q < kStreamQuads ? depth / 4 - q : kStreamQuads;
    const int8_t* bytes[kBytes];
    for (int b = 0; b < kBytes; ++b) bytes[b] = x.bytes[b].data() + 4 * q;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t left = width - t * kTile;
      const __mmask64 mask = left >= kTile ? ~0ull : (1ull << left) - 1;
      add_quads(values + 4 * q * w.columns + t * kTile, w.columns, mask, quads, bytes, &sums[t]);
    }
  }
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t left = width - t * kTile;
    put_scaled(sums[t], x, scales + t * kTile, left < kTile ? left : kTile,
               out + first + t * kTile);
  }
}

#else

inline bool integers_fit(int64_t, int64_t) { return false; }
inline void integer_group(const Product&, const Weights&, int64_t, int64_t, int64_t, int64_t,
                          int64_t, float*) {}

#endif

}  // namespace grokdist

#endif  // GROKDIST_INTEGER_ROWS_H_
