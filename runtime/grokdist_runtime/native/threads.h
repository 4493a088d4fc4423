// Jobs shared by XLA's threads.

#ifndef GROKDIST_THREADS_H_
#define GROKDIST_THREADS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "xla/ffi/api/c_api.h"

namespace grokdist {

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

inline void help(void* data) {
  auto* work = static_cast<std::shared_ptr<Work>*>(data);
  (*work)->take();
  delete work;
}

inline int64_t thread_count(const XLA_FFI_CallFrame* frame) {
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

}  // namespace grokdist

#endif  // GROKDIST_THREADS_H_
