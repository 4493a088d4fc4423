// Products of float32 rows with the rows of a float32 or bfloat16 table, for CPUs: the output head.
//
// Each row of the table is read once, in the order in which it lies in memory, and widened in
// registers; sums are float32.

#include <cstdint>

#include "ffi.h"
#include "row_dot.h"
#include "threads.h"

namespace {

using namespace grokdist;

constexpr int kTogether = 4;  // rows of x for which a row of the table is widened once
constexpr int64_t kJobRows = 64;

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
