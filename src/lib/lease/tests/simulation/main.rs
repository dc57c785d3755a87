//! 2 to 20 hosts, a network and a store, through everything that can happen to them: one world for each seed.
//!
//! The hosts run the real [`culvert_lease::Lease`] and [`culvert_lease::Contact`] and work on up to three claims in rounds,
//! each of which has every kind of effect that a holder may have: a result in the claim's own record, another record
//! written in one transaction with it, a target that carries the epoch, and stages that one conditional write publishes.
//! For two minutes there are killed and restarted processes, processes that are stopped for up to three leases (also
//! between a decision and the message that leaves), partitions of one direction or both, messages lost, twice or late by
//! up to a lease, answers that never come, a primary that ends in the middle of transactions, and, in every other world,
//! clocks of the store that are stepped by up to two leases and clocks of hosts that are wrong by up to 2 %.
//!
//! At every step ([`judge`]): only the newest holder's writes are seen, each effect once and in order; what is published
//! is whole, of one epoch, and never changed. With right clocks: who writes holds, and nobody else believes to. Always:
//! nobody takes another's claim before one lease of contact after an outage. When the faults have ended, every claim has
//! a holder within a bound, who gets on with the work and keeps it.
//!
//! This is an event queue of its own, and not turmoil, because hosts' clocks here differ in speed, a process can be
//! stopped between two steps, and a world takes half a millisecond: turmoil ticks one clock for all through every
//! millisecond of it.
//!
//! More worlds: `CULVERT_SEEDS=1000000 cargo test -p culvert-lease --test simulation`. One of them, with all that happens:
//! `CULVERT_SEED=7`.

mod ask;
mod dice;
mod fault;
mod host;
mod judge;
mod network;
mod process;
mod rule;
mod seat;
mod store;
mod verdict;
mod world;

use std::collections::BTreeMap;

use culvert_lease::{Millis, Terms};
use rule::Rule;
use world::World;

/// How long a lease lasts.
const LEASE: Millis = 15_000;

const TERMS: Terms = Terms::of(LEASE);

/// The longest between two answers of an uninterrupted contact.
const SILENCE: Millis = LEASE / 2;

/// How long an answer is waited for.
const PATIENCE: Millis = LEASE;

/// How many pieces are staged in a round.
const PIECES: u8 = 3;

/// How long faults happen.
const TROUBLE: Millis = 120_000;

/// After this and what is left of the leases, every claim has a holder again: what is under way takes up to a lease to
/// arrive and may be a claim that nobody waits for any more; then somebody must be in contact for a lease.
const CALM: Millis = 3 * LEASE + 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn only_the_newer_holder_writes_what_anybody_sees() {
    if let Some(seed) = number("CULVERT_SEED") {
        let outcome = World::new(seed, Rule::Right, true).run();
        assert_eq!(outcome.verdict, None);
        return;
    }
    let seeds = number("CULVERT_SEEDS").unwrap_or(5_000);
    let mut fenced: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut events, mut grants, mut lapses, mut published) = (0, 0, 0, 0);
    for seed in 0..seeds {
        let outcome = World::new(seed, Rule::Right, false).run();
        if let Some(verdict) = outcome.verdict {
            panic!("{verdict}. Again, with all that happens: CULVERT_SEED={seed}");
        }
        events += outcome.events;
        grants += outcome.grants;
        lapses += outcome.lapses;
        published += outcome.published;
        for (deed, count) in outcome.fenced {
            *fenced.entry(deed).or_default() += count;
        }
    }
    println!(
        "{seeds} seeds, {events} events, {grants} grants, {lapses} lapses, {published} published; fenced: {fenced:?}"
    );
    for deed in ["own", "together", "far", "advance", "publish"] {
        assert!(fenced.contains_key(deed), "no older holder tried to write: {deed}");
    }
    assert!(lapses > 0 && published > seeds);
}

#[test]
fn each_wrong_rule_is_found_out() {
    for (rule, why) in Rule::WRONG {
        let verdict = |seed| World::new(seed, rule, false).run().verdict.filter(|verdict| verdict.contains(why));
        let found = (0..2_000).find_map(|seed| Some((seed, verdict(seed)?)));
        let (seed, verdict) = found.unwrap_or_else(|| panic!("{rule:?} is not found out"));
        println!("{rule:?}, seed {seed}: {verdict}");
    }
}
