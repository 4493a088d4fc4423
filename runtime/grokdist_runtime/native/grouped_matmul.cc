// Products of float32 rows with int8 matrices that stand in a stack, for CPUs.
//
// One operation, `grouped_matmul`: each row of the result names the matrix of the stack it is
// multiplied with, as the rows of a mixture of experts do; where all name the same it is an
// ordinary product. Weights are read once, as int8, in the order in which they lie in memory, and
// scales are applied after the sum over a group of rows. Rows that share a matrix are multiplied as
// float_rows.h says, and one alone, where the processor has the instructions, as integer_rows.h.
//
// Called by XLA through its foreign function interface (openxla/xla, xla/ffi/api/c_api.h), on
// XLA's own threads. Shapes and dtypes are checked in grouped_matmul.py, when a program is traced.

#include <cstdint>
#include <cstring>
#include <vector>

#include "float_rows.h"
#include "integer_rows.h"
#include "stack.h"
#include "threads.h"
#include "xla/ffi/api/c_api.h"

namespace {

using namespace grokdist;

struct Job {
  const Weights* weights;
  const Group* group;
  int64_t first;
  int64_t width;
};

XLA_FFI_Error* metadata(XLA_FFI_CallFrame* frame) {
  auto* extension = reinterpret_cast<XLA_FFI_Metadata_Extension*>(frame->extension_start);
  extension->metadata->api_version.major_version = XLA_FFI_API_MAJOR;
  extension->metadata->api_version.minor_version = XLA_FFI_API_MINOR;
  return nullptr;
}

bool asks_for_metadata(const XLA_FFI_CallFrame* frame) {
  return frame->extension_start != nullptr &&
         frame->extension_start->type == XLA_FFI_Extension_Metadata;
}

XLA_FFI_Buffer* argument(const XLA_FFI_CallFrame* frame, int64_t i) {
  return static_cast<XLA_FFI_Buffer*>(frame->args.args[i]);
}

XLA_FFI_Buffer* result(const XLA_FFI_CallFrame* frame, int64_t i) {
  return static_cast<XLA_FFI_Buffer*>(frame->rets.rets[i]);
}

// Columns of a job: wide, since a row's run of memory is then long, but a few for each thread, and
// no wider than their sums fit the first-level cache.
int64_t job_width(int64_t all_columns, int64_t rows, int64_t threads) {
  const int64_t most = rows == 1 ? 2816 : 8192 / rows;
  int64_t width = all_columns / (2 * threads);
  if (width < 1024) width = all_columns / threads < 1024 ? all_columns / threads : 1024;
  width = width < most ? width : most;
  return width < 256 ? 256 : (width + 63) / 64 * 64;
}

}  // namespace

// Arguments: x [R, K] float32; matrix [P] int32, P a multiple of R, below 0 for a row that is to be
// zero; then for each stack its values [..., K, N] int8 and its scales [..., G, N] float32.
// Results: [P, N] float32 for each stack; row i is x[i * R / P] times stack[matrix[i]].
extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* grouped_matmul(
    XLA_FFI_CallFrame* frame) {
  if (asks_for_metadata(frame)) return metadata(frame);
  const XLA_FFI_Buffer* x = argument(frame, 0);
  const XLA_FFI_Buffer* matrix = argument(frame, 1);
  const int64_t rows = matrix->dims[0];
  const Product product = {static_cast<const float*>(x->data), x->dims[1], rows / x->dims[0]};
  const auto* named = static_cast<const int32_t*>(matrix->data);

  std::vector<Weights> stacks(frame->rets.size);
  int64_t count = 0;
  for (int64_t i = 0; i < frame->rets.size; ++i) {
    const XLA_FFI_Buffer* values = argument(frame, 2 + 2 * i);
    const XLA_FFI_Buffer* scales = argument(frame, 3 + 2 * i);
    stacks[i] = {static_cast<const int8_t*>(values->data), static_cast<const float*>(scales->data),
                 scales->dims[scales->rank - 2], values->dims[values->rank - 1],
                 static_cast<float*>(result(frame, i)->data)};
    count = 1;
    for (int64_t axis = 0; axis < values->rank - 2; ++axis) count *= values->dims[axis];
  }

  std::vector<Group> groups;
  for (int64_t row = 0; row < rows; ++row) {
    if (named[row] < 0 || named[row] >= count) {
      for (const Weights& w : stacks)
        std::memset(w.out + row * w.columns, 0, sizeof(float) * w.columns);
      continue;
    }
    Group* group = nullptr;
    for (Group& known : groups)
      if (known.matrix == named[row]) group = &known;
    if (group == nullptr) group = &groups.emplace_back(Group{named[row], {}});
    group->rows.push_back(row);
  }
  if (groups.empty()) return nullptr;

  const int64_t threads = thread_count(frame);
  int64_t all_columns = 0;
  for (const Weights& w : stacks) all_columns += w.columns * groups.size();
  std::vector<Job> jobs;
  for (const Group& group : groups) {
    const int64_t width = job_width(all_columns, group.rows.size(), threads);
    for (const Weights& w : stacks)
      for (int64_t c = 0; c < w.columns; c += width)
        jobs.push_back({&w, &group, c, c + width < w.columns ? width : w.columns - c});
  }
  parallel(frame, threads, jobs.size(), [&](int64_t i) {
    const auto& [weights, group, first, width] = jobs[i];
    if (group->rows.size() > 1 || !integers_fit(product.depth, weights->groups)) {
      float_rows(product, *weights, *group, first, width);
      return;
    }
    // Each job rounds the row for itself: that costs less than to wait for another.
    const int64_t row = group->rows[0];
    const float* x = product.x + row / product.fan * product.depth;
    const Rounded rounded = round_row(x, product.depth, weights->groups);
    integer_row(product, rounded, *weights, group->matrix, row, first, width);
  });
  return nullptr;
}
