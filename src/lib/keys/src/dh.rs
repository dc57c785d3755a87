//! The search for Diffie-Hellman parameters: a prime p for which q = (p - 1) / 2 is a prime too, and the generator 2.
//!
//! The search has no memory: it draws a number at random, looks at the candidates in a stretch above it, and draws
//! again. To stop it and begin anew later, elsewhere, costs nothing in expectation, so there is nothing to save.
//!
//! OpenSSL's own search can't be paused from safe code. This one takes fewer candidates: it sieves by all primes of 18
//! bits before it does any exponentiation. And it looks at candidates p = 23 modulo 24 only, as OpenSSL does: there
//! q = 3 modulo 4, so a round of Miller and Rabin for q is a single exponentiation; and there 2 is a square modulo p, so
//! that 2^q = 1 modulo p shows for a prime q at once that p is a prime (Pocklington) and that 2 generates the subgroup of
//! order q.

use std::ops::RangeInclusive;

use openssl::bn::{BigNum, BigNumContext, BigNumRef, MsbOption};
use openssl::dh::Dh;
use openssl::error::ErrorStack;

use crate::{Control, Fault};

/// The difference between two candidates: p = 7 modulo 8, for the generator, and neither p nor q is divisible by 3.
const STEP: u32 = 24;

/// How many candidates above a number drawn at random are sieved; one in 60 remains.
const STRETCH: usize = 1 << 15;

/// The sizes of the primes that the sieve is made of; 2 and 3 are taken care of by [`STEP`].
const SMALL: RangeInclusive<u32> = 5..=0x3_ffff;

/// Rounds of Miller and Rabin with random bases, each of which a number that is no prime passes by one chance in four
/// at the most: 2^-128 in all.
const ROUNDS: usize = 64;

/// Parameters of this many bits, PKCS #3, DER. Takes seconds for 2048 bits, minutes for 4096.
///
/// # Errors
///
/// It was cancelled.
pub fn search(bits: u16, control: &Control) -> Result<Vec<u8>, Fault> {
    let small = small_primes();
    let mut context = BigNumContext::new()?;
    loop {
        let lowest = draw(bits)?;
        for number in sieve(&lowest, &small, control)? {
            control.check()?;
            control.count();
            let mut p = lowest.to_owned()?;
            p.add_word(number * STEP)?;
            if is_safe(&p, &mut context, control)? {
                return Ok(Dh::from_pqg(p, None, BigNum::from_u32(2)?)?.params_to_der()?);
            }
        }
    }
}

/// A random number of this many bits that is 23 modulo 24.
fn draw(bits: u16) -> Result<BigNum, ErrorStack> {
    let mut number = BigNum::new()?;
    number.rand(bits.into(), MsbOption::ONE, true)?;
    // The modulus is far below 32 bits.
    let rest = number.mod_word(STEP)? as u32;
    number.sub_word(rest)?;
    number.add_word(STEP - 1)?;
    Ok(number)
}

/// The candidates, counted from the lowest, for which no small prime divides p or q.
fn sieve(lowest: &BigNum, small: &[u32], control: &Control) -> Result<impl Iterator<Item = u32>, Fault> {
    let mut struck = vec![false; STRETCH];
    for &prime in small {
        control.check()?;
        let prime = u64::from(prime);
        let rest = lowest.mod_word(prime as u32)?;
        // The square of a prime above 3 is 1 modulo 24, so this times 24 is -1 modulo the prime. Candidate number k has
        // the rest `rest + 24 k`: it is 0, for p, or 1, for q, at these numbers.
        let inverse = (prime * prime - 1) / u64::from(STEP) % prime;
        for first in [rest * inverse % prime, (rest + prime - 1) * inverse % prime] {
            struck.iter_mut().skip(first as usize).step_by(prime as usize).for_each(|struck| *struck = true);
        }
    }
    Ok((0..).zip(struck).filter_map(|(number, struck)| (!struck).then_some(number)))
}

fn small_primes() -> Vec<u32> {
    let is_prime = |number: &u32| {
        (2..).take_while(|factor| factor * factor <= *number).all(|factor| !number.is_multiple_of(factor))
    };
    SMALL.filter(is_prime).collect()
}

/// Whether p and q are primes.
fn is_safe(p: &BigNum, context: &mut BigNumContext, control: &Control) -> Result<bool, Fault> {
    let mut q = BigNum::new()?;
    q.rshift1(p)?;
    // Most candidates end here, and nearly all of the others with p.
    if !passes(&q, context)? || !follows(p, &q, context)? {
        return Ok(false);
    }
    for _ in 1..ROUNDS {
        control.check()?;
        if !passes(&q, context)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether p is a prime and 2 generates the subgroup of order q, if q is a prime.
fn follows(p: &BigNum, q: &BigNum, context: &mut BigNumContext) -> Result<bool, ErrorStack> {
    let mut power = BigNum::new()?;
    power.mod_exp(&*BigNum::from_u32(2)?, q, p, context)?;
    Ok(power == BigNum::from_u32(1)?)
}

/// A round of Miller and Rabin, with a random base, for a number that is 3 modulo 4.
fn passes(number: &BigNumRef, context: &mut BigNumContext) -> Result<bool, ErrorStack> {
    // From 2 to two less than the number: the others say nothing.
    let (mut bases, mut base) = (number.to_owned()?, BigNum::new()?);
    bases.sub_word(3)?;
    bases.rand_range(&mut base)?;
    base.add_word(2)?;
    let (mut half, mut power) = (BigNum::new()?, BigNum::new()?);
    half.rshift1(number)?;
    power.mod_exp(&base, &half, number, context)?;
    if power == BigNum::from_u32(1)? {
        return Ok(true);
    }
    power.add_word(1)?;
    Ok(power == *number)
}

#[cfg(test)]
mod tests;
