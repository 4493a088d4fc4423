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
#include <memory>
#include <utility>
#include <vector>

#include "ffi.h"
#include "float_rows.h"
#include "integer_rows.h"
#include "stack.h"
#include "threads.h"

namespace {

using namespace grokdist;

struct Job {
  const Weights* weights;
  const Group* group;
  int64_t first;
  int64_t width;
  // For a row alone: these groups of scales, each to a row of `parts [G, N]`.
  int64_t begin, end;
  float* parts;
};

// Columns of a job: wide, since a row's run of memory is then long, but a few for each thread, and
// no wider than their sums fit the first-level cache.
int64_t job_width(int64_t all_columns, int64_t rows, int64_t threads) {
  const int64_t most = rows == 1 ? 2816 : 8192 / rows;
  int64_t width = all_columns / (2 * threads);
  if (width < 1024) width = all_columns / threads < 1024 ? all_columns / threads : 1024;
  width = width < most ? width : most;
  return width < 256 ? 256 : (width + 63) / 64 * 64;
}

// The product of one row with one matrix, a part for each group of scales.
struct Parts {
  std::unique_ptr<float[]> of;  // [G, N]
  int64_t groups, columns;
  float* out;  // [N], their sum

  // In the order of the groups, so that the sum does not depend on who computed which.
  void add() const {
    std::memcpy(out, of.get(), sizeof(float) * columns);
    for (int64_t g = 1; g < groups; ++g)
      for (int64_t c = 0; c < columns; ++c) out[c] += of[g * columns + c];
  }
};

}  // namespace

// Arguments: x [R, K] float32; matrix [P] int32, P a multiple of R, below 0 for a row that is to be
// zero; then for each stack its values [..., K, N] int8 and its scales [..., G, N] float32.
// Results: [P, N] float32 for each stack; row i is x[i * R / P] times stack[matrix[i]].
GROKDIST_KERNEL grouped_matmul(XLA_FFI_CallFrame* frame) {
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
  const int64_t matrices = groups.size() * stacks.size();
  int64_t all_columns = 0;
  for (const Weights& w : stacks) all_columns += w.columns * groups.size();
  std::vector<Job> jobs;
  std::vector<Parts> parts;
  for (const Group& group : groups) {
    for (const Weights& w : stacks) {
      const bool alone = group.rows.size() == 1 && integers_fit(product.depth, w.groups);
      int64_t width = job_width(all_columns, group.rows.size(), threads), runs = 1;
      if (alone && width < w.columns) {
        // Cut along the groups first: a job then reads one run of memory.
        runs = (2 * threads + matrices - 1) / matrices;
        runs = runs < w.groups ? runs : w.groups;
        width = job_width(all_columns * runs, 1, threads);
      }
      float* to = w.out + group.rows[0] * w.columns;
      if (alone && w.groups > 1) {
        std::unique_ptr<float[]> of(new float[w.groups * w.columns]);
        parts.push_back({std::move(of), w.groups, w.columns, to});
        to = parts.back().of.get();
      }
      for (int64_t run = 0; run < runs; ++run)
        for (int64_t c = 0; c < w.columns; c += width)
          jobs.push_back({&w, &group, c, c + width < w.columns ? width : w.columns - c,
                          run * w.groups / runs, (run + 1) * w.groups / runs,
                          alone ? to : nullptr});
    }
  }
  parallel(frame, threads, jobs.size(), [&](int64_t i) {
    const Job& job = jobs[i];
    if (job.parts == nullptr) {
      float_rows(product, *job.weights, *job.group, job.first, job.width);
      return;
    }
    // Each job rounds the row for itself: that costs less than to wait for another.
    for (int64_t g = job.begin; g < job.end; ++g)
      integer_group(product, *job.weights, job.group->matrix, job.group->rows[0], g, job.first,
                    job.width, job.parts + g * job.weights->columns);
  });
  for (const Parts& each : parts) each.add();
  return nullptr;
}
