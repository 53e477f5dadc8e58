//! Files that are damaged at random: whatever they hold, the importer answers, soon and in little memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use gelu_import::{npy, onnx, state_dict};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::build::image_network;
use super::files::folder;
use super::pipelines::path;

/// One damage of a kind that a disk, a network or an attacker does.
fn mutate(file: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let at = rng.random_range(0..bytes.len());
    // Half of all damage near the start, where headers and sizes are.
    let at = if rng.random() { at } else { at % bytes.len().min(400) };
    match rng.random_range(0..6) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => bytes[at] = rng.random(),
        3 => {
            let length = rng.random_range(0..bytes.len() - at).min(64);
            bytes.copy_within(at..at + length, 0);
        }
        4 => drop(bytes.splice(at..at, (0..9).map(|_| 0xff))),
        _ => {
            let to = (at + rng.random_range(1..64)).min(bytes.len());
            drop(bytes.drain(at..to));
        }
    }
    bytes
}

/// Imports damaged copies of all files; how many there were and how many were still networks.
fn run(files: &[Vec<u8>], count: usize) -> (usize, usize) {
    let mut rng = ChaCha20Rng::seed_from_u64(14);
    let mut still = 0;
    for round in 0..count {
        let bytes = mutate(&files[round % files.len()], &mut rng);
        let start = Instant::now();
        let all =
            || (onnx(&bytes).is_ok(), state_dict(&bytes, None).is_ok(), npy::read(&bytes).is_ok());
        let (is_network, ..) = catch_unwind(AssertUnwindSafe(all))
            .unwrap_or_else(|_| panic!("panic in round {round}"));
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "round {round} took {:?}",
            start.elapsed()
        );
        still += usize::from(is_network);
    }
    (count, still)
}

/// Those that are made here, and those of `tests/data`: tables, words, quantised numbers.
fn own_files() -> Vec<Vec<u8>> {
    let mut names: Vec<_> =
        std::fs::read_dir(path("")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let onnx = names.iter().filter(|path| path.extension().is_some_and(|e| e == "onnx"));
    let read = onnx.map(|path| std::fs::read(path).unwrap());
    [image_network().bytes()].into_iter().chain(read).collect()
}

#[test]
fn a_thousand_damaged_files() {
    let files = own_files();
    assert!(files.len() >= 6, "{}", files.len());
    let (_, still) = run(&files, 1000);
    assert!(still > 0, "damage to a weight leaves a network");
}

/// These and all files of other programs, 10,000 damages and truncations: less than 64 MiB beyond what the files themselves take.
///
/// ```text
/// cargo test -p gelu-import --test it ten_thousand -- --ignored --nocapture
/// ```
#[test]
#[ignore = "alone in its process, whose memory it measures"]
fn ten_thousand_damaged_files() {
    let mut files = own_files();
    if let Some(folder) = folder() {
        let found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let wanted = found
            .filter(|path| path.extension().is_some_and(|e| e == "onnx" || e == "safetensors"));
        files.extend(wanted.map(|path| std::fs::read(path).unwrap()));
    }
    let before = peak_memory();
    let (count, still) = run(&files, 10_000);
    let grown = peak_memory() - before;
    println!("{count} files, {still} still networks, {} KiB more memory", grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes");
}

/// Bytes that this process has held at most; 0 where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() << 10
}
