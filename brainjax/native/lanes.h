// Sixteen floats at a time, on whatever registers the machine has.
//
// Functions marked BRAINJAX_CLONES are compiled three times, for AVX-512, for AVX2 and for any x86-64; the loader takes what
// the machine can do. (Named by features: GCC would give an "arch" of Intel's to no other maker's processor.)

#pragma once

#include <cstdint>

#define BRAINJAX_INLINE inline __attribute__((always_inline))
#define BRAINJAX_CLONES static __attribute__((target_clones("avx512f", "avx2", "default")))

namespace brainjax {

constexpr int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(64), aligned(4), may_alias));
using WholeLanes = int32_t __attribute__((vector_size(64)));

BRAINJAX_INLINE Lanes Load(const float* from) { return *reinterpret_cast<const Lanes*>(from); }
BRAINJAX_INLINE void Store(float* to, Lanes value) { *reinterpret_cast<Lanes*>(to) = value; }

}  // namespace brainjax
