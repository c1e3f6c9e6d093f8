//! YAML text as a tree of values that know their position. Nothing is interpreted here.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

/// A position in the text; both count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    pub const START: Self = Self { line: 1, column: 1 };
}

impl From<&Marker> for Position {
    fn from(marker: &Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub position: Position,
    pub content: Content,
    /// How many values this one is made of, itself included.
    size: usize,
}

/// What kind of value.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// `plain` text was not quoted, so it may be a number, a boolean or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    /// In the order of the file; a key that stands twice is here twice.
    Mapping(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_position: Position,
    pub value: Node,
}

/// The text is not YAML, or not YAML that a configuration can be made of.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub position: Position,
    /// Where in the document the reader was, as far as it got.
    pub path: String,
    pub message: String,
}

/// Values that aliases may add in all: a few lines of nested anchors must not fill the memory.
const ALIAS_BUDGET: usize = 1_000_000;

/// Levels of nesting; a configuration has seven. Deep trees would exhaust the stack when they are dropped.
const DEEPEST: usize = 64;

/// The only document of `text`; `None` if there is nothing in it but white space and comments.
pub(super) fn parse(text: &str) -> Result<Option<Node>, SyntaxError> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, position, result) = match event {
            Ok((event, span)) => (Some(event), Position::from(&span.start), Ok(())),
            Err(error) => (
                None,
                error.marker().into(),
                Err(format!("not valid YAML: {}{}", error.info(), hint(error.info()))),
            ),
        };
        result
            .and_then(|()| event.map_or(Ok(()), |event| builder.take(event, position)))
            .map_err(|message| SyntaxError { position, path: builder.path(), message })?;
    }
    Ok(builder.root)
}

/// What would be right, where the parser only says what is wrong.
fn hint(info: &str) -> &'static str {
    if info.starts_with("mapping values") {
        "; check the indentation, and quote a text that has a colon and a space in it"
    } else if info.starts_with("tabs") {
        "; indent with spaces"
    } else {
        ""
    }
}

/// Puts parser events together.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    root: Option<Node>,
}

/// A collection whose end has not been read yet.
struct Open {
    position: Position,
    anchor: usize,
    content: Content,
    /// The key whose value comes next, in a mapping.
    key: Option<(String, Position)>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, position: Position) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text(tag.as_deref())?;
                let content = Content::Scalar { text: text.into_owned(), plain };
                self.add(Node { position, content, size: 1 }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                is_text(tag.as_deref())?;
                self.begin(position, anchor, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                is_text(tag.as_deref())?;
                self.begin(position, anchor, Content::Mapping(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let size = 1 + open.content.size();
                    let node = Node { position: open.position, content: open.content, size };
                    self.add(node, open.anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor);
                let node = node.ok_or("an alias cannot stand inside of what it refers to")?.clone();
                self.aliased += node.size;
                if self.aliased > ALIAS_BUDGET {
                    return Err(format!("aliases expand to more than {ALIAS_BUDGET} values"));
                }
                self.add(node, 0)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err("a second document begins here; a configuration is one document".into())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, position: Position, anchor: usize, content: Content) -> Result<(), String> {
        if self.awaits_key() {
            return Err("a key must be text".into());
        }
        if self.open.len() == DEEPEST {
            return Err(format!("is nested more than {DEEPEST} levels deep"));
        }
        self.open.push(Open { position, anchor, content, key: None });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.content, open.key.take()) {
            (Content::Sequence(items), _) => items.push(node),
            (Content::Mapping(entries), Some((key, key_position))) => {
                entries.push(Entry { key, key_position, value: node });
            }
            (Content::Mapping(_), None) => match node.content {
                Content::Scalar { text, .. } => open.key = Some((text, node.position)),
                _ => return Err("a key must be text".into()),
            },
            (Content::Scalar { .. }, _) => {}
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.content, Content::Mapping(_)) && open.key.is_none())
    }

    /// The way down to what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match (&open.content, &open.key) {
                (Content::Sequence(items), _) => path += &format!("[{}]", items.len()),
                (_, Some((key, _))) => {
                    path += if path.is_empty() { "" } else { "." };
                    path.extend(key.escape_debug());
                }
                _ => {}
            }
        }
        if path.is_empty() { "document".into() } else { path }
    }
}

impl Content {
    fn size(&self) -> usize {
        match self {
            Self::Scalar { .. } => 0,
            Self::Sequence(items) => items.iter().map(|item| item.size).sum(),
            Self::Mapping(entries) => entries.iter().map(|entry| entry.value.size).sum(),
        }
    }
}

/// Is the value declared to be text? Other tags of the core schema say nothing new; foreign ones mean nothing here.
fn is_text(tag: Option<&Tag>) -> Result<bool, String> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
        Some(tag) => Err(format!("the tag {tag} has no meaning here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let error = parse(text).expect_err("must be refused");
        format!(
            "{}:{}: {}: {}",
            error.position.line, error.position.column, error.path, error.message
        )
    }

    #[test]
    fn an_alias_stands_for_its_anchor_where_the_anchor_stands() {
        let root = parse("a: &x [1]\nb: *x\n").unwrap().unwrap();
        let Content::Mapping(entries) = root.content else { panic!("a mapping") };
        assert_eq!(entries[1].value.position, Position { line: 1, column: 4 });
    }

    #[test]
    fn nested_aliases_cannot_fill_the_memory() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let previous = i - 1;
            let alias = vec![format!("*a{previous}"); 10].join(", ");
            text += &format!("a{i}: &a{i} [{alias}]\n");
        }
        assert!(refusal(&text).ends_with("aliases expand to more than 1000000 values"));
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_ends() {
        for text in ["[", "- ", "{a: ", "a: &x [*x, "] {
            let refusal = refusal(&text.repeat(100_000));
            assert!(refusal.len() < 1000, "{refusal}");
        }
        assert!(refusal(&"- ".repeat(65)).ends_with("is nested more than 64 levels deep"));
    }

    #[test]
    fn comments_alone_are_no_document() {
        assert!(parse("# nothing yet\n\n").unwrap().is_none());
    }

    #[test]
    fn what_is_no_configuration_is_refused_where_it_stands() {
        for (text, expected) in [
            (
                "a: 1\n---\nb: 2\n",
                "2:1: document: a second document begins here; a configuration is one document",
            ),
            ("? [a]\n: 1\n", "1:3: document: a key must be text"),
            ("a: &x\n  b: *x\n", "2:6: a.b: an alias cannot stand inside of what it refers to"),
            ("a:\n  - !secret x\n", "2:5: a[0]: the tag !secret has no meaning here"),
            (
                "a: b: c\n",
                "1:5: document: not valid YAML: mapping values are not allowed in this context; check the indentation, and quote a text that has a colon and a space in it",
            ),
        ] {
            assert_eq!(refusal(text), expected);
        }
    }
}
