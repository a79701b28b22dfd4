//! Breadth first through all states, and from each of them to its rest.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use crate::key::key;
use crate::laws::{self, Broken};
use crate::moves::{Event, State};
use serin_core::model::Canary;

/// More states than a search may find before it gives up: a bound, not an aim.
const STATES_MAX: usize = 5_000_000;

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// The longest way to a state.
    pub(super) depth: u32,
    /// The first broken law with the shortest way to it.
    pub(super) broken: Option<Counterexample>,
}

#[derive(Debug)]
pub(super) struct Counterexample {
    pub(super) law: u8,
    pub(super) what: String,
    pub(super) story: String,
}

/// A state in a line.
pub(super) fn tells(state: &State) -> String {
    let truth = &state.world.truth;
    format!(
        "t={} {:?} {} of {} % ({}) route {:?} target {} x{} {}{} primary {:?}",
        state.world.now,
        truth.status.phase,
        laws::known(&truth.status.last_applied_spec),
        truth.status.canary_weight,
        truth.status.last_reason.as_ref().map_or("", |reason| reason.code.as_str()),
        truth.route.map(|(share, _)| share),
        truth.target.revision,
        truth.target.replicas,
        if truth.target.rolled { "rolled " } else { "" },
        if truth.target.serving { "serving" } else { "" },
        truth.primary.as_ref().map(|side| (side.revision, side.rolled, side.serving)),
    )
}

struct Node {
    parent: usize,
    by: Option<Event>,
    depth: u32,
    calm: usize,
}

struct Search<'a> {
    canary: &'a Canary,
    root: State,
    nodes: Vec<Node>,
    known: BTreeMap<u128, usize>,
    queue: VecDeque<(usize, State)>,
    steps: usize,
}

/// Everything that can come of `root`.
pub(super) fn search(canary: &Canary, root: State) -> Found {
    let mut search = Search {
        canary,
        root: root.clone(),
        nodes: Vec::new(),
        known: BTreeMap::new(),
        queue: VecDeque::new(),
        steps: 0,
    };
    search.reach(root, 0, None, 0);
    let broken = search.run().or_else(|| search.rests());
    Found {
        states: search.nodes.len(),
        steps: search.steps,
        depth: search.nodes.iter().map(|node| node.depth).max().unwrap_or(0),
        broken,
    }
}

impl Search<'_> {
    fn run(&mut self) -> Option<Counterexample> {
        while let Some((from, state)) = self.queue.pop_front() {
            assert!(self.nodes.len() < STATES_MAX, "the world is not small");
            let depth = self.nodes[from].depth + 1;
            let calm = Event { what: state.calm(), unseen: None };
            for step in state.moves() {
                self.steps += 1;
                match state.play(self.canary, step) {
                    Ok(next) => {
                        let to = self.reach(next, from, Some(step), depth);
                        if step == calm {
                            self.nodes[from].calm = to;
                        }
                    }
                    Err(broken) => return Some(self.tell(from, Some(step), broken)),
                }
            }
        }
        None
    }

    fn reach(&mut self, state: State, parent: usize, by: Option<Event>, depth: u32) -> usize {
        let key = key(&state);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let index = self.nodes.len();
        self.nodes.push(Node { parent, by, depth, calm: usize::MAX });
        self.known.insert(key, index);
        self.queue.push_back((index, state));
        index
    }

    /// Left alone, every state comes to a rest, and to the right one.
    fn rests(&self) -> Option<Counterexample> {
        // 0 is unknown, 1 is on the way, 2 ends well.
        let mut known = vec![0_u8; self.nodes.len()];
        for start in 0..self.nodes.len() {
            let mut way = Vec::new();
            let mut at = start;
            while known[at] == 0 {
                known[at] = 1;
                way.push(at);
                at = self.nodes[at].calm;
            }
            if known[at] == 1 {
                let end = self.state(at);
                let verdict = if self.nodes[at].calm == at {
                    laws::at_rest(&end.world, &end.ghost)
                } else {
                    laws::broken(9, "left alone, it goes round in circles")
                };
                if let Err(broken) = verdict {
                    // Told from the first state that leads there.
                    return Some(self.tell(start, None, broken));
                }
            }
            for index in way {
                known[index] = 2;
            }
        }
        None
    }

    fn way(&self, to: usize) -> Vec<Event> {
        let mut way = Vec::new();
        let mut at = to;
        while let Some(by) = self.nodes[at].by {
            way.push(by);
            at = self.nodes[at].parent;
        }
        way.reverse();
        way
    }

    fn state(&self, of: usize) -> State {
        let mut state = self.root.clone();
        for step in self.way(of) {
            state = state.play(self.canary, step).unwrap();
        }
        state
    }

    fn tell(&self, from: usize, last: Option<Event>, broken: Broken) -> Counterexample {
        let Broken { law, what } = broken;
        let mut story = String::new();
        let mut state = self.root.clone();
        for step in self.way(from).into_iter().chain(last) {
            let _ = writeln!(story, "{}", step.tells());
            if let Ok(next) = state.play(self.canary, step) {
                state = next;
                let _ = writeln!(story, "    {}", tells(&state));
            }
        }
        if last.is_none() {
            for _ in 0..12 {
                let step = Event { what: state.calm(), unseen: None };
                let _ = writeln!(story, "... {:?}", step.what);
                match state.play(self.canary, step) {
                    Ok(next) if key(&next) != key(&state) => state = next,
                    Ok(_) | Err(_) => break,
                }
                let truth = &state.world.truth;
                let _ = writeln!(
                    story,
                    "    {:?} {:?}",
                    truth.status.phase,
                    truth.status.last_reason.as_ref().map(|reason| &reason.message)
                );
            }
        }
        Counterexample { law, what, story }
    }
}
