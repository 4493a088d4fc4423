// Products in float32: int8 is widened in registers or, for many rows, a panel at a time in the
// first-level cache. For every processor; vectors are as long as it has them.

#ifndef GROKDIST_FLOAT_ROWS_H_
#define GROKDIST_FLOAT_ROWS_H_

#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "stack.h"

namespace grokdist {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kTileRows = 12;  // 32 registers: 12 x 2 sums, 2 of weights, the rest for rows
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kTileRows = 6;  // 16 registers
#else
constexpr int kLanes = 4;
constexpr int kTileRows = 12;  // as NEON has
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }

// Compilers take an int8 vector apart to convert it, so x86 is told which instructions to use.
inline Floats widen(const int8_t* p) {
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  Floats v;
  for (int i = 0; i < kLanes; ++i) v[i] = p[i];
  return v;
#endif
}

// Rows of weights that are summed before the sums go back to memory.
template <int kRows>
constexpr int kDepth = kRows == 1 ? 16 : kRows == 2 ? 8 : 4;

// sums[m][c] += x[m][k] * w[k][c] for `depth` rows k of weights and `width` columns c.
template <int kRows, int depth>
void add_rows(const float* const* x, const int8_t* w, int64_t stride, int64_t width,
              float* const* sums) {
  float factor[kRows][depth];
  for (int m = 0; m < kRows; ++m)
    for (int k = 0; k < depth; ++k) factor[m][k] = x[m][k];
  int64_t c = 0;
  for (; c + kLanes <= width; c += kLanes) {
    Floats sum[kRows];
    for (int m = 0; m < kRows; ++m) sum[m] = load(sums[m] + c);
#pragma GCC unroll 16
    for (int k = 0; k < depth; ++k) {
      const Floats weights = widen(w + k * stride + c);
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) sum[m] += factor[m][k] * weights;
    }
    for (int m = 0; m < kRows; ++m) store(sums[m] + c, sum[m]);
  }
  for (; c < width; ++c)
    for (int m = 0; m < kRows; ++m)
      for (int k = 0; k < depth; ++k) sums[m][c] += factor[m][k] * w[k * stride + c];
}

template <int kRows>
void add_block(const float* const* x, const int8_t* w, int64_t stride, int64_t depth, int64_t width,
               float* const* sums) {
  const float* at[kRows];
  for (int m = 0; m < kRows; ++m) at[m] = x[m];
  constexpr int kStep = kDepth<kRows>;
  int64_t k = 0;
  for (; k + kStep <= depth; k += kStep) {
    add_rows<kRows, kStep>(at, w + k * stride, stride, width, sums);
    for (int m = 0; m < kRows; ++m) at[m] += kStep;
  }
  for (; k < depth; ++k) {
    add_rows<kRows, 1>(at, w + k * stride, stride, width, sums);
    for (int m = 0; m < kRows; ++m) ++at[m];
  }
}

constexpr int kTileColumns = 2 * kLanes;
constexpr int kPanelDepth = 128;  // half of a first-level cache

// sums[m][c] += x[m][k] * panel[k][c] for kTileRows rows and kTileColumns columns.
inline void add_tile(const float* const* x, const float* panel, int64_t depth, const float* scale,
                     float* const* out) {
  Floats sum[kTileRows][2];
  for (int m = 0; m < kTileRows; ++m) sum[m][0] = sum[m][1] = Floats{};
  for (int64_t k = 0; k < depth; ++k) {
    const Floats left = load(panel + k * kTileColumns);
    const Floats right = load(panel + k * kTileColumns + kLanes);
#pragma GCC unroll 12
    for (int m = 0; m < kTileRows; ++m) {
      const float factor = x[m][k];
      sum[m][0] += factor * left;
      sum[m][1] += factor * right;
    }
  }
  const Floats left = load(scale), right = load(scale + kLanes);
  for (int m = 0; m < kTileRows; ++m) {
    store(out[m], load(out[m]) + sum[m][0] * left);
    store(out[m] + kLanes, load(out[m] + kLanes) + sum[m][1] * right);
  }
}

constexpr int64_t kManyRows = 24;
constexpr int64_t kBlockDepth = 64;

// out[row][first : first + width] for the rows of one group.
inline void few_rows(const Product& p, const Weights& w, const Group& group, int64_t first,
              int64_t width) {
  const int64_t n = group.rows.size(), group_depth = p.depth / w.groups;
  const int8_t* values = w.values + group.matrix * p.depth * w.columns + first;
  const float* scales = w.scales + group.matrix * w.groups * w.columns + first;
  std::vector<float> buffer(n * width);
  for (int64_t g = 0; g < w.groups; ++g) {
    std::memset(buffer.data(), 0, sizeof(float) * buffer.size());
    for (int64_t k = g * group_depth; k < (g + 1) * group_depth; k += kBlockDepth) {
      const int64_t left = (g + 1) * group_depth - k;
      // One row alone has no use for the block again.
      const int64_t depth = n == 1 ? left : left < kBlockDepth ? left : kBlockDepth;
      const int8_t* block = values + k * w.columns;
      for (int64_t m = 0; m < n; m += 4) {
        const float* x[4];
        float* sums[4];
        const int count = n - m < 4 ? n - m : 4;
        for (int i = 0; i < count; ++i) {
          x[i] = p.x + group.rows[m + i] / p.fan * p.depth + k;
          sums[i] = buffer.data() + (m + i) * width;
        }
        switch (count) {
          case 1: add_block<1>(x, block, w.columns, depth, width, sums); break;
          case 2: add_block<2>(x, block, w.columns, depth, width, sums); break;
          case 3: add_block<3>(x, block, w.columns, depth, width, sums); break;
          default: add_block<4>(x, block, w.columns, depth, width, sums);
        }
      }
      if (n == 1) break;
    }
    for (int64_t m = 0; m < n; ++m) {
      float* out = w.out + group.rows[m] * w.columns + first;
      const float* sums = buffer.data() + m * width;
      const float* scale = scales + g * w.columns;
      if (g == 0)
        for (int64_t c = 0; c < width; ++c) out[c] = sums[c] * scale[c];
      else
        for (int64_t c = 0; c < width; ++c) out[c] += sums[c] * scale[c];
    }
  }
}

inline void many_rows(const Product& p, const Weights& w, const Group& group, int64_t first,
               int64_t width) {
  const int64_t n = group.rows.size(), group_depth = p.depth / w.groups;
  const int8_t* values = w.values + group.matrix * p.depth * w.columns;
  const float* scales = w.scales + group.matrix * w.groups * w.columns;
  alignas(64) float panel[kPanelDepth * kTileColumns];
  alignas(64) float scale[kTileColumns];
  std::vector<float> sums(n * kTileColumns);
  for (int64_t c = first; c < first + width; c += kTileColumns) {
    const int64_t here = first + width - c < kTileColumns ? first + width - c : kTileColumns;
    std::memset(sums.data(), 0, sizeof(float) * sums.size());
    for (int64_t g = 0; g < w.groups; ++g) {
      for (int64_t i = 0; i < kTileColumns; ++i)
        scale[i] = i < here ? scales[g * w.columns + c + i] : 0.0f;
      for (int64_t k = g * group_depth; k < (g + 1) * group_depth; k += kPanelDepth) {
        const int64_t left = (g + 1) * group_depth - k;
        const int64_t depth = left < kPanelDepth ? left : kPanelDepth;
        const int8_t* block = values + k * w.columns + c;
        for (int64_t i = 0; i < depth; ++i, block += w.columns) {
          float* row = panel + i * kTileColumns;
          if (here == kTileColumns) {
            store(row, widen(block));
            store(row + kLanes, widen(block + kLanes));
          } else {
            for (int64_t j = 0; j < kTileColumns; ++j) row[j] = j < here ? block[j] : 0.0f;
          }
        }
        float spare[kTileColumns];
        for (int64_t m = 0; m < n; m += kTileRows) {
          const float* x[kTileRows];
          float* out[kTileRows];
          for (int64_t i = 0; i < kTileRows; ++i) {
            const int64_t row = m + i < n ? m + i : n - 1;
            x[i] = p.x + group.rows[row] / p.fan * p.depth + k;
            out[i] = m + i < n ? sums.data() + row * kTileColumns : spare;
          }
          add_tile(x, panel, depth, scale, out);
        }
      }
    }
    for (int64_t m = 0; m < n; ++m)
      std::memcpy(w.out + group.rows[m] * w.columns + c, sums.data() + m * kTileColumns,
                  sizeof(float) * here);
  }
}

inline void float_rows(const Product& p, const Weights& w, const Group& group, int64_t first,
                       int64_t width) {
  const bool many = static_cast<int64_t>(group.rows.size()) >= kManyRows;
  (many ? many_rows : few_rows)(p, w, group, first, width);
}

}  // namespace grokdist

#endif  // GROKDIST_FLOAT_ROWS_H_
