//! Components: outputs that share weights, and inputs that do.
//!
//! Two outputs are joined when an entry of the matrix serves both, or when a third joins them. Along two
//! axes of a window that share nothing with each other, components are products: (y, x) and (y', x') are
//! joined when y and y' are, and x and x'.

use std::collections::{BTreeMap, BTreeSet};

use super::axis::Axis;
use super::taps::Listed;
use super::window::Window;

/// Outputs (or inputs) that share weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Weights, and biases of outputs, that its members depend on.
    pub unknowns: u64,
    /// Outputs (or inputs).
    pub members: u64,
    /// How many components there are of this kind.
    pub count: u64,
}

/// Members that are joined, and the entries that they share.
struct Joined {
    members: Vec<usize>,
    entries: Vec<usize>,
}

/// Joins those of `members` members that `each` tells to use the same of `entries` entries; members
/// that use none are left out.
fn join(
    members: usize,
    entries: usize,
    each: impl FnOnce(&mut dyn FnMut(usize, usize)),
) -> Vec<Joined> {
    let mut leader: Vec<usize> = (0..members).collect();
    // The first member that used an entry leads everyone who uses it later.
    let mut first_user: Vec<Option<usize>> = vec![None; entries];
    each(&mut |member, entry| {
        let first = *first_user[entry].get_or_insert(member);
        let (a, b) = (find(&mut leader, member), find(&mut leader, first));
        leader[a.max(b)] = a.min(b);
    });
    let mut joined = BTreeMap::<usize, Joined>::new();
    for (entry, user) in first_user.into_iter().enumerate() {
        let Some(user) = user else { continue };
        let empty = || Joined { members: vec![], entries: vec![] };
        joined.entry(find(&mut leader, user)).or_insert_with(empty).entries.push(entry);
    }
    for member in 0..members {
        if let Some(joined) = joined.get_mut(&find(&mut leader, member)) {
            joined.members.push(member);
        }
    }
    joined.into_values().collect()
}

fn find(leader: &mut [usize], mut member: usize) -> usize {
    while leader[member] != member {
        leader[member] = leader[leader[member]];
        member = leader[member];
    }
    member
}

/// How many components there are of each number of (members, weights).
type Kinds = BTreeMap<(u64, u64), u64>;

impl Axis {
    fn kinds(self, joined: Vec<Joined>) -> Kinds {
        let mut kinds = Kinds::new();
        for Joined { members, entries } in joined {
            let weights: BTreeSet<_> = entries.iter().flat_map(|&e| self.parts(e)).collect();
            *kinds.entry((members.len() as u64, weights.len() as u64)).or_default() += 1;
        }
        kinds
    }

    fn by_output(self) -> Kinds {
        self.kinds(join(self.outputs(), self.length(), |visit| self.each_tap(visit)))
    }

    fn by_input(self) -> Kinds {
        let of_input = |visit: &mut dyn FnMut(usize, usize)| {
            self.each_tap(|output, offset| visit(self.source(output, offset), offset));
        };
        self.kinds(join(self.size(), self.length(), of_input))
    }
}

impl Window {
    pub(super) fn output_components(&self) -> Vec<Component> {
        let of = |weights, members, count| Component {
            unknowns: self.channels_per_filter() as u64 * weights + 1,
            members,
            count: self.filters() as u64 * count,
        };
        products(&self.rows().by_output(), &self.columns().by_output(), of)
    }

    pub(super) fn input_components(&self) -> Vec<Component> {
        let of = |weights, members, count| Component {
            unknowns: self.filters_per_channel() as u64 * weights,
            members,
            count: self.channels() as u64 * count,
        };
        products(&self.rows().by_input(), &self.columns().by_input(), of)
    }
}

fn products(
    rows: &Kinds,
    columns: &Kinds,
    of: impl Fn(u64, u64, u64) -> Component,
) -> Vec<Component> {
    let product = |(&(members, weights), &count)| {
        let with = |(&(m, w), &c): (&(u64, u64), &u64)| of(weights * w, members * m, count * c);
        columns.iter().map(with).collect::<Vec<_>>()
    };
    rows.iter().flat_map(product).collect()
}

impl Listed {
    pub(super) fn output_components(&self) -> Vec<Component> {
        let joined = join(self.taps().outputs(), self.weights(), |visit| {
            self.each_run(|run| visit(run.output, run.entry));
        });
        let of = |joined: Joined| {
            let biases: BTreeSet<_> = joined.members.iter().map(|&o| self.bias_of()[o]).collect();
            component(&joined, biases.len())
        };
        joined.into_iter().map(of).collect()
    }

    pub(super) fn input_components(&self) -> Vec<Component> {
        let joined = join(self.inputs(), self.weights(), |visit| {
            self.each_run(|run| visit(run.source, run.entry));
        });
        joined.iter().map(|joined| component(joined, 0)).collect()
    }
}

fn component(joined: &Joined, biases: usize) -> Component {
    let unknowns = (joined.entries.len() + biases) as u64;
    Component { unknowns, members: joined.members.len() as u64, count: 1 }
}
