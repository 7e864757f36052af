//! A grammar in the W3C's notation, and sentences derived from it at random.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_pql::keywords;

/// How many productions may be open before the shortest alternatives are taken.
const DEPTH_MAX: usize = 14;

/// One node of a production.
#[derive(Clone, Debug)]
pub enum Node {
    Text(String),
    Characters(Vec<char>),
    Production(String),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Optional(Box<Node>),
    /// At least so many times.
    Repeated(usize, Box<Node>),
}

/// Productions by name, and the least depth in which each comes to an end.
pub struct Grammar {
    productions: BTreeMap<String, Node>,
    depths: BTreeMap<String, usize>,
}

impl Grammar {
    pub fn read(text: &str) -> Self {
        let tokens = tokenize(text);
        let mut reader = Reader { tokens: &tokens, at: 0 };
        let mut productions = BTreeMap::new();
        while reader.at < tokens.len() {
            let name = reader.next().to_string();
            assert_eq!(reader.next(), "::=", "behind {name}");
            assert!(productions.insert(name.clone(), reader.choice()).is_none(), "{name} is there twice");
        }
        let depths = depths(&productions);
        Self { productions, depths }
    }

    pub fn productions(&self) -> impl Iterator<Item = &str> {
        self.productions.keys().map(String::as_str)
    }

    /// The alternatives of a production.
    pub fn alternatives(&self, name: &str) -> Vec<Node> {
        match &self.productions[name] {
            Node::Choice(alternatives) => alternatives.clone(),
            node => vec![node.clone()],
        }
    }

    /// Every quoted word of the productions in lower case.
    pub fn keywords(&self) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        for (_, node) in self.productions.iter().filter(|(name, _)| !is_lexical(name)) {
            collect_words(node, &mut words);
        }
        words
    }
}

fn is_lexical(name: &str) -> bool {
    name.chars().all(|ch| !ch.is_lowercase())
}

fn collect_words(node: &Node, words: &mut BTreeSet<String>) {
    match node {
        Node::Text(text) if text.starts_with(char::is_alphabetic) => drop(words.insert(text.clone())),
        Node::Sequence(nodes) | Node::Choice(nodes) => nodes.iter().for_each(|node| collect_words(node, words)),
        Node::Optional(node) | Node::Repeated(_, node) => collect_words(node, words),
        Node::Text(_) | Node::Characters(_) | Node::Production(_) => {}
    }
}

/// Names, `::=`, quoted texts with their opening quote, character classes with their opening bracket, and signs.
fn tokenize(text: &str) -> Vec<String> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' => rest.find("*/").expect("a comment ends") + 2,
            '\'' => quoted_length(rest),
            '[' => rest.find(']').expect("a class ends") + 1,
            ':' => 3,
            ch if ch.is_alphabetic() => rest.find(|ch: char| !ch.is_alphanumeric() && ch != '_').unwrap_or(rest.len()),
            _ => 1,
        };
        match first {
            '/' => {}
            '\'' => tokens.push(format!("'{}", rest[1..length - 1].replace("''", "'"))),
            '[' => tokens.push(rest[..length - 1].to_string()),
            _ => tokens.push(rest[..length].to_string()),
        }
        rest = rest[length..].trim_start();
    }
    tokens
}

fn quoted_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, ch)) = chars.next() {
        if ch == '\'' && chars.next_if(|(_, next)| *next == '\'').is_none() {
            return at + 1;
        }
    }
    panic!("a quoted text ends")
}

struct Reader<'a> {
    tokens: &'a [String],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> &'a str {
        self.at += 1;
        &self.tokens[self.at - 1]
    }

    fn choice(&mut self) -> Node {
        let mut alternatives = vec![self.sequence()];
        while self.peek() == "|" {
            self.next();
            alternatives.push(self.sequence());
        }
        if alternatives.len() == 1 { alternatives.remove(0) } else { Node::Choice(alternatives) }
    }

    fn sequence(&mut self) -> Node {
        let mut nodes = vec![];
        while !["", "|", ")"].contains(&self.peek()) && self.tokens.get(self.at + 1).is_none_or(|next| next != "::=") {
            let node = self.node();
            nodes.push(match self.peek() {
                "?" => Node::Optional(self.behind(node)),
                "*" => Node::Repeated(0, self.behind(node)),
                "+" => Node::Repeated(1, self.behind(node)),
                _ => node,
            });
        }
        if nodes.len() == 1 { nodes.remove(0) } else { Node::Sequence(nodes) }
    }

    fn behind(&mut self, node: Node) -> Box<Node> {
        self.next();
        Box::new(node)
    }

    fn node(&mut self) -> Node {
        let token = self.next();
        match token.as_bytes()[0] {
            b'\'' => Node::Text(token[1..].to_string()),
            b'[' => Node::Characters(characters(&token[1..])),
            b'(' => {
                let node = self.choice();
                assert_eq!(self.next(), ")");
                node
            }
            _ => Node::Production(token.to_string()),
        }
    }
}

fn characters(class: &str) -> Vec<char> {
    let chars: Vec<char> = class.chars().collect();
    let mut result = vec![];
    let mut at = 0;
    while at < chars.len() {
        if at + 2 < chars.len() && chars[at + 1] == '-' {
            result.extend(chars[at]..=chars[at + 2]);
            at += 3;
        } else {
            result.push(chars[at]);
            at += 1;
        }
    }
    result
}

fn depths(productions: &BTreeMap<String, Node>) -> BTreeMap<String, usize> {
    let mut depths = BTreeMap::new();
    loop {
        let before = depths.len();
        for (name, node) in productions {
            if let Some(depth) = depth(node, &depths) {
                depths.entry(name.clone()).or_insert(depth + 1);
            }
        }
        if depths.len() == before {
            let missing: Vec<_> = productions.keys().filter(|name| !depths.contains_key(*name)).collect();
            assert!(missing.is_empty(), "these never end: {missing:?}");
            return depths;
        }
    }
}

fn depth(node: &Node, depths: &BTreeMap<String, usize>) -> Option<usize> {
    match node {
        Node::Text(_) | Node::Characters(_) | Node::Optional(_) | Node::Repeated(0, _) => Some(0),
        Node::Production(name) => depths.get(name).copied(),
        Node::Sequence(nodes) => {
            nodes.iter().map(|node| depth(node, depths)).try_fold(0, |max, one| Some(max.max(one?)))
        }
        Node::Choice(nodes) => nodes.iter().filter_map(|node| depth(node, depths)).min(),
        Node::Repeated(_, node) => depth(node, depths),
    }
}

/// A random derivation. The same seed derives the same sentence.
pub struct Derivation<'g> {
    grammar: &'g Grammar,
    state: u64,
    text: String,
    lexical: bool,
}

impl<'g> Derivation<'g> {
    pub fn new(grammar: &'g Grammar, seed: u64) -> Self {
        Self { grammar, state: seed, text: String::new(), lexical: false }
    }

    pub fn sentence(&mut self, node: &Node) -> String {
        self.derive(node, 0);
        std::mem::take(&mut self.text)
    }

    /// SplitMix64: one addition, three shifts.
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn derive(&mut self, node: &Node, depth: usize) {
        let tired = depth > DEPTH_MAX;
        match node {
            Node::Text(text) => self.write(text),
            Node::Characters(chars) => {
                let chosen = self.below(chars.len());
                self.text.push(chars[chosen]);
            }
            Node::Production(name) if is_lexical(name) && !self.lexical => self.word(name),
            Node::Production(name) => {
                let grammar = self.grammar;
                self.derive(&grammar.productions[name], depth + 1);
            }
            Node::Sequence(nodes) => nodes.iter().for_each(|node| self.derive(node, depth)),
            Node::Choice(nodes) => {
                let shallowest = nodes.iter().min_by_key(|node| crate::ebnf::depth(node, &self.grammar.depths));
                let chosen = self.below(nodes.len());
                let node = if tired { shallowest.expect("an alternative") } else { &nodes[chosen] };
                self.derive(node, depth);
            }
            Node::Optional(node) => (0..self.below(if tired { 1 } else { 2 })).for_each(|_| self.derive(node, depth)),
            Node::Repeated(least, node) => {
                let more = if tired { 0 } else { self.below(3) };
                (0..least + more).for_each(|_| self.derive(node, depth));
            }
        }
    }

    /// A production of characters; a name that happens to be a keyword is made another one.
    fn word(&mut self, name: &str) {
        self.space();
        let start = self.text.len();
        self.lexical = true;
        let grammar = self.grammar;
        self.derive(&grammar.productions[name], 0);
        self.lexical = false;
        let word = self.text[start..].to_uppercase();
        if name == "NAME" && (keywords::is_keyword(&word) || sqlparser::keywords::ALL_KEYWORDS.contains(&word.as_str()))
        {
            self.text.push_str("_0");
        }
    }

    fn write(&mut self, text: &str) {
        if self.lexical {
            self.text.push_str(text);
            return;
        }
        self.space();
        if self.below(4) == 0 { self.text.push_str(&text.to_lowercase()) } else { self.text.push_str(text) }
    }

    fn space(&mut self) {
        let chosen = self.below(24);
        let space = match chosen {
            0 => "\n",
            1 => "  -- a comment\n",
            2 => " /* another */ ",
            _ => " ",
        };
        if !self.text.is_empty() {
            self.text.push_str(space);
        }
    }
}
