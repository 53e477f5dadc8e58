//! The quick exhibits of the attacks by linear algebra: made whole, with no data folder, and with
//! every claim holding.

use gelu_bench::Error;
use gelu_bench::attacks::{extraction, factorisation, last_layer, permutation, reconstruction};
use gelu_bench::exhibit::{Exhibit, Part};
use gelu_bench::setting::{Extent, Progress, Quiet, Setting};

type Make = fn(&Setting, &dyn Progress) -> Result<Exhibit, Error>;

fn check(id: &str, make: Make) {
    let setting =
        Setting { extent: Extent::Quick, data: None, models: None, seed: 21, key_bits: 2048 };
    let exhibit = make(&setting, &Quiet).unwrap();
    assert_eq!(exhibit.id, id);
    assert!(exhibit.claims.len() >= 2);
    for claim in &exhibit.claims {
        assert!(claim.holds, "{id}: {}", claim.text);
    }
    assert!(exhibit.parts.iter().any(|part| matches!(part, Part::Images(_))), "{id}: a picture");
    for part in &exhibit.parts {
        match part {
            Part::Table(table) => {
                assert!(table.rows.iter().all(|row| row.cells.len() == table.columns.len()));
            }
            Part::Images(images) => {
                let all = images.rows.iter().flat_map(|row| &row.images);
                assert!(all.clone().count() > 0);
                assert!(all.clone().all(|image| image.pixels.len() % image.width as usize == 0));
            }
            Part::Lines(lines) => assert!(lines.series.iter().all(|s| !s.points.is_empty())),
            Part::Bars(_) => {}
        }
    }
}

#[test]
fn reconstruction_and_figures() {
    check("attack-reconstruction", reconstruction::exhibit);
    check("figure-1", reconstruction::figure_1);
    check("figure-2", reconstruction::figure_2);
}

#[test]
fn extractions() {
    check("attack-extraction", extraction::exhibit);
    check("attack-last-layer", last_layer::exhibit);
}

#[test]
fn sums_of_leases() {
    check("attack-factorisation", factorisation::exhibit);
}

#[test]
fn permuted_neurons() {
    check("attack-permutation", permutation::exhibit);
}
