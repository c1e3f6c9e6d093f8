//! Reading a tree of values: the fields of mappings, the items of lists, and the path to each.

use std::fmt;

use super::{
    problem::{Problems, Spot, nearest, quote},
    yaml::{Content, Node, Position},
};

/// The way to a value from the document's root.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Root(Position),
    Field { of: &'a Place<'a>, name: &'a str, position: Position },
    Item { of: &'a Place<'a>, index: usize, position: Position },
}

impl Place<'_> {
    pub fn position(&self) -> Position {
        match *self {
            Self::Root(position) | Self::Field { position, .. } | Self::Item { position, .. } => {
                position
            }
        }
    }

    pub fn spot(&self) -> Spot {
        Spot { position: self.position(), path: self.to_string() }
    }

    /// The field `name` of this mapping, standing at `position`.
    pub fn field<'b>(&'b self, name: &'b str, position: Position) -> Place<'b> {
        Place::Field { of: self, name, position }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(_) => f.write_str("document"),
            Self::Field { of: Place::Root(_), name, .. } => write!(f, "{}", name.escape_debug()),
            Self::Field { of, name, .. } => write!(f, "{of}.{}", name.escape_debug()),
            Self::Item { of, index, .. } => write!(f, "{of}[{index}]"),
        }
    }
}

/// A value and the way to it.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub node: &'a Node,
    pub place: Place<'a>,
}

impl<'a> Value<'a> {
    pub fn root(node: &'a Node) -> Self {
        Self { node, place: Place::Root(node.position) }
    }

    /// Reads it with one of the readers of [`scalar`](super::scalar), whose error is the message.
    pub fn read<T>(
        &self,
        problems: &mut Problems,
        reader: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        reader(self.node).map_err(|message| problems.error(&self.place, message)).ok()
    }

    /// Its items, if it is a list.
    pub fn items<'b>(&'b self, problems: &mut Problems) -> Vec<Value<'b>> {
        let Content::Sequence(items) = &self.node.content else {
            let message = match &self.node.content {
                Content::Scalar { text, .. } => {
                    format!("must be a list; write [{}]", text.escape_debug())
                }
                _ => "must be a list; begin each item with a dash".into(),
            };
            problems.error(&self.place, message);
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, node)| Value {
                node,
                place: Place::Item { of: &self.place, index, position: node.position },
            })
            .collect()
    }

    /// Reports a list that has no items where one at least is needed.
    pub fn refuse_empty(&self, problems: &mut Problems, meaning: &str) {
        if matches!(&self.node.content, Content::Sequence(items) if items.is_empty()) {
            problems.error(&self.place, format!("must not be empty; give {meaning} at least"));
        }
    }

    /// Its fields, if it is a mapping. Close them when all known ones have been asked for.
    pub fn fields(&self, problems: &mut Problems) -> Option<Fields<'_>> {
        let Content::Mapping(entries) = &self.node.content else {
            problems
                .error(&self.place, format!("must be a mapping of fields, not {}", self.kind()));
            return None;
        };
        let mut lines = std::collections::HashMap::new();
        for entry in entries {
            if let Some(first) = lines.insert(&entry.key, entry.key_position.line) {
                let place = self.place.field(&entry.key, entry.key_position);
                problems
                    .error(&place, format!("stands here again, first in line {first}; keep one"));
            }
        }
        Some(Fields { of: self, known: Vec::new(), missing: Vec::new() })
    }

    /// What it is, for a message that says it should be something else.
    pub fn kind(&self) -> String {
        match &self.node.content {
            Content::Scalar { text, plain: true } if text.is_empty() => "nothing".into(),
            Content::Scalar { text, .. } => quote(text),
            Content::Sequence(_) => "a list".into(),
            Content::Mapping(_) => "a mapping".into(),
        }
    }
}

/// The fields of a mapping.
pub(super) struct Fields<'a> {
    of: &'a Value<'a>,
    known: Vec<&'static str>,
    /// Fields without default that are not there, and what belongs there.
    missing: Vec<(&'static str, &'a str)>,
}

impl<'a> Fields<'a> {
    /// The mapping itself.
    pub fn place(&self) -> &'a Place<'a> {
        &self.of.place
    }

    /// The value of a field; none if it is absent or empty.
    pub fn get(&mut self, name: &'static str) -> Option<Value<'a>> {
        self.known.push(name);
        let entry = self.entries().iter().find(|entry| entry.key == name)?;
        let node = &entry.value;
        let place = self.of.place.field(name, node.position);
        if super::scalar::is_null(node) { None } else { Some(Value { node, place }) }
    }

    /// The value of a field that has no default; `meaning` tells what belongs there.
    pub fn need(&mut self, name: &'static str, meaning: &'a str) -> Option<Value<'a>> {
        let value = self.get(name);
        if value.is_none() {
            self.missing.push((name, meaning));
        }
        value
    }

    /// Reads a field that has a default.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        reader: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        self.get(name)?.read(problems, reader)
    }

    /// Reads a field that has no default.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        meaning: &'a str,
        problems: &mut Problems,
        reader: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        self.need(name, meaning)?.read(problems, reader)
    }

    /// Reports every field that nobody has asked for, and every one that is missing - unless it is there, misspelt.
    pub fn close(&self, problems: &mut Problems) {
        let mut misspelt = Vec::new();
        for entry in self.entries() {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let meant = nearest(&entry.key, self.known.iter().copied());
            let advice = match meant {
                Some(name) => format!("did you mean {name}?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            misspelt.extend(meant);
            let place = self.of.place.field(&entry.key, entry.key_position);
            problems.error(&place, format!("unknown field; {advice}"));
        }
        for (name, meaning) in &self.missing {
            if !misspelt.contains(name) {
                let entry = self.entries().iter().find(|entry| entry.key == *name);
                let position = entry.map_or(self.of.place.position(), |entry| entry.key_position);
                let place = self.of.place.field(name, position);
                problems.error(&place, format!("is missing; give {meaning}"));
            }
        }
    }

    fn entries(&self) -> &'a [super::yaml::Entry] {
        match &self.of.node.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }
}
