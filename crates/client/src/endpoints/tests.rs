//! Which addresses are used, in which order.

use std::net::SocketAddr;

use rand::{SeedableRng, rngs::SmallRng};

use super::members::choose;

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn who_is_known_comes_first_and_families_take_turns() {
    type Row = (&'static [&'static str], &'static [&'static str], usize, &'static [&'static str]);
    let table: [Row; 6] = [
        (
            &[],
            &["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"],
            9,
            &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"],
        ),
        (&[], &["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"], 9, &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]),
        (&["1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"], 9, &["1.1.1.2:1", "1.1.1.1:1"]),
        (&["1.1.1.2:1", "1.1.1.3:1"], &["1.1.1.1:1", "1.1.1.3:1"], 9, &["1.1.1.3:1", "1.1.1.1:1"]),
        (&["1.1.1.3:1"], &["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"], 2, &["1.1.1.3:1", "1.1.1.1:1"]),
        (&[], &["1.1.1.1:1", "1.1.1.1:1"], 9, &["1.1.1.1:1"]),
    ];
    for (known, found, most, wanted) in table {
        let chosen = choose(&addresses(known), &addresses(found), most, None);
        assert_eq!(chosen, addresses(wanted), "{known:?} {found:?} {most}");
    }
}

#[test]
fn of_too_many_each_is_as_likely() {
    let found: Vec<SocketAddr> = (0..100_u8).map(|n| ([10, 0, 0, n], 1).into()).collect();
    let mut times = vec![0; found.len()];
    for seed in 0..1_000 {
        let chosen = choose(&[], &found, 32, Some(&mut SmallRng::seed_from_u64(seed)));
        assert_eq!(chosen.len(), 32);
        for (times, address) in times.iter_mut().zip(&found) {
            *times += usize::from(chosen.contains(address));
        }
    }
    assert!(times.iter().all(|times| (240..=400).contains(times)), "{times:?}");
    // Those that fit keep the order of the resolver.
    let few = &found[..32];
    assert_eq!(choose(&[], few, 32, Some(&mut SmallRng::seed_from_u64(1))), few);
}
