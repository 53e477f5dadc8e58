//! Asking: rows go in, lines come out, in their order and as soon as they are answered.

use std::io::{self, Write};

use anyhow::{Context, Result};
use gelu_core::text::printable;
use gelu_nn::Model;
use gelu_service::client::Answers;
use ndarray::{Array2, ShapeBuilder};
use tokio::sync::mpsc::Receiver;

use super::kept::Kept;
use super::layout::{Answer, Layout};
use super::rows::{Read, Row, no_rows};
use crate::backend::Scheme;
use crate::client;
use crate::phases::{Running, Screen};
use crate::problem::problem;
use crate::queries::{Open, Spent};

/// Who answers.
pub(super) enum Oracle<'a, S: Scheme> {
    /// A server, under encryption; and where its work is shown.
    Server(Box<Open<S>>, Screen),
    /// The model, in the clear and in the integers of the protocol; and how many values were cut off. None where
    /// nothing is left to ask.
    InTheClear(Option<&'a Model>, u64),
}

/// Where lines go.
pub(super) enum Sink {
    /// The standard output, a pipe or a device.
    Stream(Box<dyn Write>),
    Kept(Box<Kept>),
}

impl Sink {
    /// Rows that earlier runs have answered.
    pub(super) fn earlier(&self) -> u64 {
        match self {
            Self::Kept(kept) => kept.earlier(),
            Self::Stream(_) => 0,
        }
    }

    fn append(&mut self, lines: &str, rows: u64) -> Result<()> {
        match self {
            Self::Kept(kept) => kept.append(lines, rows),
            Self::Stream(stream) => {
                let written = stream.write_all(lines.as_bytes()).and_then(|()| stream.flush());
                match written {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(problem(
                        "nobody reads the answers any more",
                        "write them to a file with --out, from which a run can go on",
                    )),
                    written => written.context("cannot write the answers"),
                }
            }
        }
    }
}

/// Rows on their way, and what was answered so far.
pub(super) struct Answering<'a> {
    pieces: Receiver<Result<Vec<Row>>>,
    read: Read,
    layout: &'a Layout,
    sink: Sink,
    pub(super) counts: Counts,
}

/// Of this run.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Rows with a line.
    pub(super) rows: u64,
    /// Those without an answer: a value is missing.
    pub(super) without: u64,
    /// Answers of each class.
    pub(super) classes: Vec<u64>,
}

impl<'a> Answering<'a> {
    /// Nothing was read yet.
    pub(super) fn new(pieces: Receiver<Result<Vec<Row>>>, layout: &'a Layout, sink: Sink) -> Self {
        let counts = Counts { classes: vec![0; layout.classes.len()], ..Counts::default() };
        Self { pieces, read: Read::default(), layout, sink, counts }
    }

    /// Passes the rows that an earlier run has read, and checks that they are the same. What comes back is not
    /// answered yet; nothing, where everything is.
    ///
    /// # Errors
    /// They are not the same, or there are none at all; what is wrong with a row.
    pub(super) fn first(&mut self) -> Result<Vec<Row>> {
        let (to_read, answered) = match &self.sink {
            Sink::Kept(kept) => (kept.to_read(), kept.rows()),
            Sink::Stream(_) => (0, 0),
        };
        let mut first = Vec::new();
        // Where all that was read is answered, the piece after it, too.
        while self.read.rows() < to_read || first.is_empty() {
            let Some(piece) = self.pieces.blocking_recv().transpose()? else { break };
            for row in piece {
                self.read.add(&row);
                if self.read.rows() == to_read {
                    self.check()?;
                }
                if row.number > answered {
                    first.push(row);
                }
            }
        }
        match self.read.rows() {
            0 => return Err(no_rows()),
            read if read < to_read => self.check()?,
            _ => {}
        }
        Ok(first)
    }

    fn check(&self) -> Result<()> {
        match &self.sink {
            Sink::Kept(kept) => kept.check(&self.read),
            Sink::Stream(_) => Ok(()),
        }
    }

    /// Asks `first` and all that come after it; `batch` rows a query.
    ///
    /// # Errors
    /// Why there are no more answers. Those that came are written.
    pub(super) async fn all<S: Scheme>(
        &mut self,
        oracle: &mut Oracle<'_, S>,
        first: Vec<Row>,
        mut batch: usize,
        running: &Running,
    ) -> Result<()> {
        let mut piece = first;
        while !piece.is_empty() {
            if let Sink::Kept(kept) = &self.sink {
                kept.note(&self.read)?;
            }
            self.piece(oracle, &piece, &mut batch, running).await?;
            piece = self.pieces.recv().await.transpose()?.unwrap_or_default();
            piece.iter().for_each(|row| self.read.add(row));
        }
        self.finish()
    }

    /// Every row has its line.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn finish(&self) -> Result<()> {
        match &self.sink {
            Sink::Kept(kept) => kept.finish(),
            Sink::Stream(_) => Ok(()),
        }
    }

    async fn piece<S: Scheme>(
        &mut self,
        oracle: &mut Oracle<'_, S>,
        rows: &[Row],
        batch: &mut usize,
        running: &Running,
    ) -> Result<()> {
        let with: Vec<_> = rows.iter().filter_map(|row| row.features.as_deref()).collect();
        let inputs = with.first().map_or(0, |features| features.len());
        let shape = (inputs, with.len()).f();
        let inputs =
            Array2::from_shape_vec(shape, with.concat()).context("rows of other lengths")?;
        let mut left = rows.iter().peekable();
        let mut answered = |answers: Answers| {
            let answers = each(answers);
            let count = answers.len();
            self.write(&mut left, answers)?;
            running.steps(count);
            Ok(())
        };
        match oracle {
            Oracle::Server(open, _) => {
                let session = &mut open.session;
                client::answers(session, inputs.view(), batch, &mut answered).await?;
            }
            Oracle::InTheClear(model, cut_off) => {
                let model = model.context("there is nobody to ask")?;
                for query in inputs.axis_chunks_iter(ndarray::Axis(1), (*batch).max(1)) {
                    let (probabilities, saturations) = model.probabilities(&query.to_owned())?;
                    *cut_off += saturations;
                    answered(Answers::Probabilities(probabilities))?;
                    // Here a signal is seen.
                    tokio::task::yield_now().await;
                }
            }
        }
        // Rows without an answer at the end.
        self.write(&mut left, Vec::new())
    }

    /// The lines of the next rows of `left`: as many as there are answers, and those without one before, between and
    /// right behind them.
    fn write<'r>(
        &mut self,
        left: &mut std::iter::Peekable<impl Iterator<Item = &'r Row>>,
        answers: Vec<Answer>,
    ) -> Result<()> {
        let (mut lines, mut rows) = (String::new(), 0);
        let mut answers = answers.into_iter();
        while let Some(row) = left.peek() {
            let answer = match row.features {
                None => None,
                Some(_) => match answers.next() {
                    None => break,
                    Some(answer) => Some(answer),
                },
            };
            let (line, class) = self.layout.line(row, answer.as_ref())?;
            lines.push_str(&line);
            rows += 1;
            match class {
                Some(class) => self.counts.classes[class] += 1,
                None => self.counts.without += 1,
            }
            left.next();
        }
        if rows == 0 {
            return Ok(());
        }
        if let (Sink::Stream(_), 0) = (&self.sink, self.counts.rows) {
            lines.insert_str(0, &self.layout.header()?);
        }
        self.sink.append(&lines, rows)?;
        self.counts.rows += rows;
        Ok(())
    }
}

impl<S: Scheme> Oracle<'_, S> {
    /// How many values were cut off, and what the answers have cost.
    pub(super) fn close(self) -> (u64, Spent) {
        match self {
            Self::Server(open, _) => {
                let spent = open.close();
                (spent.cut_off.total(), spent)
            }
            Self::InTheClear(_, cut_off) => (cut_off, Spent::default()),
        }
    }
}

/// One by one.
fn each(answers: Answers) -> Vec<Answer> {
    match answers {
        Answers::Classes(classes) => classes.into_iter().map(Answer::Class).collect(),
        Answers::Probabilities(all) => {
            all.columns().into_iter().map(|p| Answer::Probabilities(p.to_vec())).collect()
        }
    }
}

/// Names of classes that a terminal can show.
pub(super) fn counted(classes: &[String], counts: &[u64]) -> String {
    let pairs = classes.iter().zip(counts).filter(|(_, count)| **count > 0);
    let pairs: Vec<_> =
        pairs.map(|(class, count)| format!("{count} {}", printable(class))).collect();
    pairs.join(", ")
}
