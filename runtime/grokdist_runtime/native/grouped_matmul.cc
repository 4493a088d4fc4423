// Products of float32 rows with int8 matrices that stand in a stack, for CPUs.
//
// One operation, `grouped_matmul`: each row of the result names the matrix of the stack it is
// multiplied with, as the rows of a mixture of experts do; where all name the same it is an
// ordinary product. Weights are read once, as int8, in the order in which they lie in memory; they
// are widened in registers or, for many rows, a panel at a time in the cache. Scales are applied
// after the sum over a group of rows. Sums are float32.
//
// Called by XLA through its foreign function interface (openxla/xla, xla/ffi/api/c_api.h), on
// XLA's own threads. Shapes and dtypes are checked in grouped_matmul.py, when a program is traced.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/c_api.h"

namespace {

// ---------------------------------------------------------------- vectors

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

// ---------------------------------------------------------------- threads

// Jobs 0 .. count - 1, taken by whoever comes: the caller, and helpers on XLA's threads. The caller
// never waits for a job that nobody has begun, so a full pool cannot lock it out.
struct Work {
  void (*run)(const void* context, int64_t job);
  const void* context;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};

  void take() {
    for (int64_t job; (job = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      run(context, job);
      done.fetch_add(1, std::memory_order_release);
    }
  }
};

void help(void* data) {
  auto* work = static_cast<std::shared_ptr<Work>*>(data);
  (*work)->take();
  delete work;
}

int64_t thread_count(const XLA_FFI_CallFrame* frame) {
  int64_t count = 1;
  XLA_FFI_ThreadPool_NumThreads_Args args = {};
  args.struct_size = XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE;
  args.ctx = frame->ctx;
  args.num_threads = &count;
  if (XLA_FFI_Error* error = frame->api->XLA_FFI_ThreadPool_NumThreads(&args)) {
    XLA_FFI_Error_Destroy_Args destroy = {};
    destroy.struct_size = XLA_FFI_Error_Destroy_Args_STRUCT_SIZE;
    destroy.error = error;
    frame->api->XLA_FFI_Error_Destroy(&destroy);
    return 1;
  }
  return count;
}

template <typename Job>
void parallel(const XLA_FFI_CallFrame* frame, int64_t threads, int64_t count, const Job& job) {
  auto work = std::make_shared<Work>();
  work->run = [](const void* context, int64_t i) { (*static_cast<const Job*>(context))(i); };
  work->context = &job;
  work->count = count;
  const int64_t helpers = (threads < count ? threads : count) - 1;
  for (int64_t i = 0; i < helpers; ++i) {
    auto* share = new std::shared_ptr<Work>(work);
    XLA_FFI_ThreadPool_Schedule_Args args = {};
    args.struct_size = XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE;
    args.ctx = frame->ctx;
    args.task = help;
    args.data = share;
    if (XLA_FFI_Error* error = frame->api->XLA_FFI_ThreadPool_Schedule(&args)) {
      XLA_FFI_Error_Destroy_Args destroy = {};
      destroy.struct_size = XLA_FFI_Error_Destroy_Args_STRUCT_SIZE;
      destroy.error = error;
      frame->api->XLA_FFI_Error_Destroy(&destroy);
      delete share;
      break;
    }
  }
  work->take();
  for (int spins = 0; work->done.load(std::memory_order_acquire) < count; ++spins) {
    if (spins > 1000) std::this_thread::yield();
  }
}

// ---------------------------------------------------------------- few rows

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

// ---------------------------------------------------------------- many rows

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

// ---------------------------------------------------------------- the operation

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
  const float* x;  // [P / fan, K]
  int64_t depth;
  int64_t fan;
};

constexpr int64_t kManyRows = 24;
constexpr int64_t kBlockDepth = 64;

// out[row][first : first + width] for the rows of one group.
void few_rows(const Product& p, const Weights& w, const Group& group, int64_t first,
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

void many_rows(const Product& p, const Weights& w, const Group& group, int64_t first,
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

// A number of columns that is a multiple of 64 and gives each thread a few jobs.
int64_t job_width(int64_t columns, int64_t parts) {
  const int64_t even = (columns + parts - 1) / parts;
  const int64_t width = (even + 63) / 64 * 64;
  return width < 256 ? 256 : width > 2048 ? 2048 : width;
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
  const int64_t parts = threads == 1 ? 1 : (4 * threads + groups.size() - 1) / groups.size();
  std::vector<Job> jobs;
  for (const Group& group : groups)
    for (const Weights& w : stacks) {
      const int64_t width = job_width(w.columns, parts);
      for (int64_t first = 0; first < w.columns; first += width)
        jobs.push_back({&w, &group, first, first + width < w.columns ? width : w.columns - first});
    }
  parallel(frame, threads, jobs.size(), [&](int64_t i) {
    const Job& job = jobs[i];
    const bool many = static_cast<int64_t>(job.group->rows.size()) >= kManyRows;
    (many ? many_rows : few_rows)(product, *job.weights, *job.group, job.first, job.width);
  });
  return nullptr;
}
