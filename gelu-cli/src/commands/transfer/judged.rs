//! How good a head is on held-out rows, beside the one of the same training in the clear.

use anyhow::Result;
use gelu_nn::scores::{best_threshold, log_odds};
use gelu_nn::{Scores, Split};
use ndarray::Array2;
use serde::Serialize;

use crate::claim::Claim;
use crate::output::table;
use crate::report::{Facts, Report};

/// Of rows of features.
pub(super) type Probabilities<'a> = &'a dyn Fn(&Array2<f64>) -> Result<Array2<f64>>;

/// How good the head is, beside the one that the same steps make in floating point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Judged {
    /// Of the head that was trained under encryption.
    pub(super) encrypted: Scores,
    /// By the threshold that was chosen for it on training rows.
    pub(super) in_the_clear: Scores,
    /// Of the log-odds, chosen on training rows; none where there are more than two classes.
    pub(super) threshold: Option<f64>,
    /// What always the commonest class would get.
    commonest_class: f64,
    /// Held-out rows.
    rows: usize,
}

impl Judged {
    /// By the probabilities that either head gives to prepared features, each to its own.
    pub(super) fn of(
        encrypted: (&Split, Probabilities<'_>),
        in_the_clear: (&Split, Probabilities<'_>),
    ) -> Result<Self> {
        let judge = |(split, of): (&Split, Probabilities<'_>)| -> Result<_> {
            let (train, test) = (&split.train, &split.test);
            let tested = of(test.features())?;
            if test.classes() != 2 {
                return Ok((Scores::of_many(test.labels(), &tested), None));
            }
            let threshold = best_threshold(train.labels(), &log_odds(&of(train.features())?));
            Ok((Scores::of_two(test.labels(), &log_odds(&tested), threshold), Some(threshold)))
        };
        let test = &in_the_clear.0.test;
        let ((encrypted, threshold), (in_the_clear, _)) = (judge(encrypted)?, judge(in_the_clear)?);
        let commonest = test.histogram().into_iter().max().unwrap_or(0);
        let commonest_class = commonest as f64 / test.len() as f64;
        Ok(Self { encrypted, in_the_clear, threshold, commonest_class, rows: test.len() })
    }

    /// A table and a note.
    pub(super) fn text(&self) -> String {
        let mut rows = table(&["on held-out rows", "#encrypted", "#in the clear,\nfloating point"]);
        for (name, encrypted, clear) in self.rows() {
            rows.add_row([name.to_owned(), encrypted, clear]);
        }
        format!("\n{rows}\n{}", self.note())
    }

    /// Says it all in a report.
    pub(super) fn add_to(&self, page: &mut Report) {
        let both = |(name, encrypted, clear): (&str, String, String)| {
            (name.to_owned(), format!("{encrypted}, in the clear {clear}"))
        };
        let mut items: Vec<_> = self.rows().into_iter().map(both).collect();
        items.push(("judged by".into(), format!("{} held-out rows", self.rows)));
        items.push(("how".into(), self.note()));
        page.facts.insert(0, Facts { title: "The head", items });
        if let Some(holds) = self.as_good() {
            let said = match holds {
                true => "the area under the curve is that of the head in the clear, within 0.005",
                false => "the area under the curve is not that of the head in the clear",
            };
            page.claims.push(Claim::new(said, holds));
        }
    }

    /// How much the accuracies differ.
    #[cfg(feature = "lattice")]
    pub(super) fn accuracy_apart(&self) -> f64 {
        (self.encrypted.accuracy - self.in_the_clear.accuracy).abs()
    }

    /// Whether the areas under the curve differ by no more than rounding may move them.
    fn as_good(&self) -> Option<bool> {
        let (a, b) = self.encrypted.auc.zip(self.in_the_clear.auc)?;
        Some((a - b).abs() <= CLOSE)
    }

    fn rows(&self) -> [(&'static str, String, String); 5] {
        let row = |name, of: fn(&Scores) -> Option<f64>| {
            let shown = |scores| of(scores).map_or("–".into(), |x| format!("{x:.4}"));
            (name, shown(&self.encrypted), shown(&self.in_the_clear))
        };
        [
            row("area under the curve", |s| s.auc),
            row("accuracy", |s| Some(s.accuracy)),
            row("F1", |s| Some(s.f1)),
            row("precision", |s| Some(s.precision)),
            row("recall", |s| Some(s.recall)),
        ]
    }

    fn note(&self) -> String {
        let always = format!("Always the commonest class: accuracy {:.4}.", self.commonest_class);
        match self.threshold {
            Some(threshold) => {
                format!(
                    "Threshold of the log-odds {threshold:.3}, best F1 on the training rows. {always}"
                )
            }
            None => format!("Means of each class against the rest. {always}"),
        }
    }
}

/// In area under the curve.
const CLOSE: f64 = 0.005;
