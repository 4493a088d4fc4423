// exp and tanh of a vector of float32, to within a few units of the last place.

#ifndef GROKDIST_EXPONENTIAL_H_
#define GROKDIST_EXPONENTIAL_H_

#include <cstdint>
#include <cstring>

#include "float_rows.h"

namespace grokdist {

typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

// exp(x) = power * (1 + rest), with power a power of two and |rest| at most 0.42; x from -87 to 87.
struct Exponent {
  Floats power, rest;
};

inline Exponent exponent(Floats x) {
  // Adding 1.5 * 2^23 rounds to an integer, which is then the lowest bits of the sum.
  constexpr float kRound = 12582912.0f, kLog2E = 1.44269504f;
  // ln 2 in two parts, so that n times the first is exact.
  constexpr float kLn2 = 0.693359375f, kLn2Rest = -2.12194440e-4f;
  const Floats shifted = x * kLog2E + kRound;
  const Floats n = shifted - kRound;
  const Floats r = (x - n * kLn2) - n * kLn2Rest;
  Ints bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127 << 23);
  Exponent found;
  std::memcpy(&found.power, &bits, sizeof bits);
  // Taylor's series: |r| is at most ln(2) / 2.
  const Floats end = 1 / 120.0f + r * (1 / 720.0f + r * (1 / 5040.0f));
  const Floats tail = 1 / 6.0f + r * (1 / 24.0f + r * end);
  found.rest = r + r * r * (0.5f + r * tail);
  return found;
}

// 0 where x is below -87, whose exp is no normal number.
inline Floats exponential(Floats x) {
  const Floats least = Floats{} - 87;
  const Exponent e = exponent(x < least ? least : x);
  return x < least ? Floats{} : e.power * e.rest + e.power;
}

inline Floats hyperbolic_tangent(Floats x) {
  const Floats size = x < 0 ? -x : x;
  const Floats most = Floats{} + 10;  // tanh is 1 from here on
  const Exponent e = exponent(2 * (size > most ? most : size));
  const Floats less = e.power * e.rest + (e.power - 1);  // exp(2 |x|) - 1
  const Floats found = less / (less + 2);
  return x < 0 ? -found : found;
}

}  // namespace grokdist

#endif  // GROKDIST_EXPONENTIAL_H_
