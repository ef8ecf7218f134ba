//! What broken servers and proxies make of headers.

use std::time::Duration;

use rand::{Rng, rngs::SmallRng};

use super::{
    rules::Rule,
    spell::{Line, Says, Told},
};
use crate::simulate::plan::Noise;

/// What was seen where a number belongs.
const GARBAGE: [&[u8]; 8] =
    [b"", b"-1", b"NaN", b"soon", b"12, 34, ", b"99999999999999999999999", b"1e400", b"\xff\xfe\x00?"];

/// Whether an event of so many in a thousand happens.
pub(super) fn happens(rng: &mut SmallRng, share: u32) -> bool {
    share > 0 && rng.random_range(0..1000_u32) < share
}

/// What a response tells of a rule: how it stands, or how it stood when its counter was copied.
pub(super) fn told(noise: &Noise, rule: &mut Rule, now: Duration) -> Told {
    if noise.lag.is_zero() {
        return Told::of(rule, now);
    }
    let copied = rule.copied.take().filter(|(at, _)| now.saturating_sub(*at) <= noise.lag);
    let (at, told) = copied.unwrap_or_else(|| (now, Told::of(rule, now)));
    rule.copied = Some((at, told.clone()));
    told
}

/// The lines as they are sent, and whether they are whole. One draw for each response and two more where something is wrong.
pub(super) fn put_on(noise: &Noise, lines: Vec<Line>, rng: &mut SmallRng) -> (Vec<(String, Vec<u8>)>, bool) {
    let sent = |lines: Vec<Line>| -> Vec<(String, Vec<u8>)> {
        lines.into_iter().map(|line| (line.name, line.value.into_bytes())).collect()
    };
    let wrongs = [noise.missing, noise.garbled, noise.past, noise.contradictory];
    if lines.is_empty() || wrongs == [0; 4] {
        return (sent(lines), true);
    }
    let mut draw = rng.random_range(0..1000_u32);
    let wrong = wrongs.iter().position(|share| {
        let it = draw < *share;
        draw = draw.wrapping_sub(*share);
        it
    });
    let Some(wrong) = wrong else { return (sent(lines), true) };
    let (which, how) = (rng.random_range(0..1024_usize), rng.random_range(0..1024_usize));
    let lines = match wrong {
        0 => Vec::new(),
        1 => {
            let at = which % lines.len();
            let mut lines = sent(lines);
            lines[at].1 = GARBAGE[how % GARBAGE.len()].to_vec();
            return (lines, false);
        }
        2 => lines.into_iter().map(past).collect(),
        _ => contradict(lines, how),
    };
    (sent(lines), false)
}

/// A reset that lies in the past, by an hour or more where it is a date.
fn past(mut line: Line) -> Line {
    match line.says {
        Says::Reset => {
            line.value = match line.value.parse::<u64>() {
                Ok(epoch) if epoch > 1_000_000_000 => (epoch - 3600 - epoch % 3600).to_string(),
                _ => "-30".to_owned(),
            };
        }
        Says::All => {
            let upto = line.value.find(";t=").unwrap_or(line.value.len());
            line.value = format!("{};t=-30", &line.value[..upto]);
        }
        Says::Capacity | Says::Remaining => {}
    }
    line
}

/// Two lines of what remains that disagree, or more remaining than there is.
fn contradict(lines: Vec<Line>, how: usize) -> Vec<Line> {
    let tells = |line: &Line| matches!(line.says, Says::Remaining | Says::All);
    let mut sent = Vec::new();
    for mut line in lines {
        if !tells(&line) {
            sent.push(line);
            continue;
        }
        let mut other = line.clone();
        other.value = match line.says {
            Says::All => line.value.replacen(";r=", ";r=999999999", 1),
            _ => format!("{}7", line.value),
        };
        if how.is_multiple_of(2) && line.says == Says::Remaining {
            sent.extend([line, other]);
        } else {
            line.value = match line.says {
                Says::All => other.value,
                _ => format!("999999999{}", line.value),
            };
            sent.push(line);
        }
    }
    sent
}
