// What a product is made of: a stack of int8 matrices with scales, and rows that name matrices.

#ifndef GROKDIST_STACK_H_
#define GROKDIST_STACK_H_

#include <cstdint>
#include <vector>

namespace grokdist {

struct Weights {
  const int8_t* values;  // [count, K, N]
  const float* scales;   // [count, G, N]
  int64_t groups;
  int64_t columns;
  float* out;  // [P, N]
};

// Rows of the result that name the same matrix.
struct Group {
  int64_t matrix;
  std::vector<int64_t> rows;
};

struct Product {
  const float* x;  // [R, K]
  int64_t depth;
  int64_t fan;  // row i of a result is of row i / fan
};

}  // namespace grokdist

#endif  // GROKDIST_STACK_H_
