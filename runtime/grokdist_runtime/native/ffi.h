// What XLA's foreign function interface hands to a kernel (openxla/xla, xla/ffi/api/c_api.h).

#ifndef GROKDIST_FFI_H_
#define GROKDIST_FFI_H_

#include <cstdint>

#include "xla/ffi/api/c_api.h"

#define GROKDIST_KERNEL extern "C" __attribute__((visibility("default"))) XLA_FFI_Error*

namespace grokdist {

inline XLA_FFI_Error* metadata(XLA_FFI_CallFrame* frame) {
  auto* extension = reinterpret_cast<XLA_FFI_Metadata_Extension*>(frame->extension_start);
  extension->metadata->api_version.major_version = XLA_FFI_API_MAJOR;
  extension->metadata->api_version.minor_version = XLA_FFI_API_MINOR;
  return nullptr;
}

inline bool asks_for_metadata(const XLA_FFI_CallFrame* frame) {
  return frame->extension_start != nullptr &&
         frame->extension_start->type == XLA_FFI_Extension_Metadata;
}

inline XLA_FFI_Buffer* argument(const XLA_FFI_CallFrame* frame, int64_t i) {
  return static_cast<XLA_FFI_Buffer*>(frame->args.args[i]);
}

inline XLA_FFI_Buffer* result(const XLA_FFI_CallFrame* frame, int64_t i) {
  return static_cast<XLA_FFI_Buffer*>(frame->rets.rets[i]);
}

}  // namespace grokdist

#endif  // GROKDIST_FFI_H_
