//! Reads the literals that a Python program assigns at its top level. Nothing is executed.
//!
//! Statements other than `name = literal` are skipped; their strings, brackets and comments are followed only to find
//! where they end. Source: "Lexical analysis" in the Python language reference.

use std::iter::Peekable;
use std::str::Chars;

/// Deepest nesting of a literal; deeper ones count as expressions.
const DEPTH: usize = 32;

/// An assignment at the top level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Name that is assigned to.
    pub name: String,
    /// The value; `None` if it is an expression.
    pub value: Option<Literal>,
}

/// A Python literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// A string.
    Text(String),
    /// A number, `True`, `False` or `None`, as written.
    Word(String),
    /// A list or a tuple.
    List(Vec<Literal>),
    /// A dictionary, in order.
    Dict(Vec<(Literal, Literal)>),
}

/// Returns the assignments at the top level of a program, in order.
pub fn assignments(program: &str) -> Vec<Assignment> {
    let mut reader = Reader { rest: program.trim_start_matches('\u{feff}').chars().peekable() };
    let mut found = Vec::new();
    while reader.rest.peek().is_some() {
        let statement = reader.clone();
        reader.skip_statement();
        found.extend(statement.assignment());
    }
    found
}

#[derive(Clone)]
struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    /// Reads `name = value` at the begin of a line.
    fn assignment(mut self) -> Option<Assignment> {
        let name = self.word();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.skip_spaces();
        if self.rest.next_if_eq(&'=').is_none() || self.rest.peek() == Some(&'=') {
            return None;
        }
        self.skip_spaces();
        let value = self.literal(0).filter(|_| {
            self.skip_spaces();
            matches!(self.rest.peek(), None | Some('\n' | '\r' | '#' | ';'))
        });
        Some(Assignment { name, value })
    }

    fn literal(&mut self, depth: usize) -> Option<Literal> {
        if depth > DEPTH {
            return None;
        }
        match *self.rest.peek()? {
            '[' => Some(Literal::List(self.items(']', depth)?)),
            '(' => self.tuple(depth),
            '{' => Some(Literal::Dict(self.entries(depth)?)),
            '"' | '\'' => self.strings(depth),
            '+' | '-' | '.' | '0'..='9' => Some(Literal::Word(self.number())),
            _ => self.named(depth),
        }
    }

    /// Reads a word that is a value, or a string with a prefix.
    fn named(&mut self, depth: usize) -> Option<Literal> {
        let mut ahead = self.clone();
        let word = ahead.word();
        if matches!(ahead.rest.peek(), Some('"' | '\'')) {
            return self.strings(depth);
        }
        if !matches!(word.as_str(), "True" | "False" | "None") {
            return None;
        }
        *self = ahead;
        Some(Literal::Word(word))
    }

    fn number(&mut self) -> String {
        let mut number = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || "+-._".contains(*c)) {
            number.push(c);
        }
        number
    }

    /// Reads what stands in brackets, up to `end`.
    fn items(&mut self, end: char, depth: usize) -> Option<Vec<Literal>> {
        self.rest.next();
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            if self.rest.next_if_eq(&end).is_some() {
                return Some(items);
            }
            items.push(self.literal(depth + 1)?);
            self.skip_blanks();
            if self.rest.next_if_eq(&',').is_none() && self.rest.peek() != Some(&end) {
                return None;
            }
        }
    }

    /// Reads a tuple, or a value in parentheses.
    fn tuple(&mut self, depth: usize) -> Option<Literal> {
        let mut inner = self.clone();
        inner.rest.next();
        inner.skip_blanks();
        if let Some(value) = inner.literal(depth + 1) {
            inner.skip_blanks();
            if inner.rest.next_if_eq(&')').is_some() {
                *self = inner;
                return Some(value);
            }
        }
        Some(Literal::List(self.items(')', depth)?))
    }

    fn entries(&mut self, depth: usize) -> Option<Vec<(Literal, Literal)>> {
        self.rest.next();
        let mut entries = Vec::new();
        loop {
            self.skip_blanks();
            if self.rest.next_if_eq(&'}').is_some() {
                return Some(entries);
            }
            let key = self.literal(depth + 1)?;
            self.skip_blanks();
            self.rest.next_if_eq(&':')?;
            self.skip_blanks();
            entries.push((key, self.literal(depth + 1)?));
            self.skip_blanks();
            if self.rest.next_if_eq(&',').is_none() && self.rest.peek() != Some(&'}') {
                return None;
            }
        }
    }

    /// Reads one string or several in a row, which Python joins.
    fn strings(&mut self, depth: usize) -> Option<Literal> {
        let mut text = String::new();
        loop {
            let prefix = self.word().to_ascii_lowercase();
            if !matches!(prefix.as_str(), "" | "r" | "u") {
                return None;
            }
            self.string(prefix == "r", &mut text)?;
            let mut ahead = self.clone();
            // Only inside brackets may the next string stand on another line.
            if depth > 0 {
                ahead.skip_blanks();
            } else {
                ahead.skip_spaces();
            }
            let mut at_quote = ahead.clone();
            at_quote.word();
            if !matches!(at_quote.rest.peek(), Some('"' | '\'')) {
                return Some(Literal::Text(text));
            }
            *self = ahead;
        }
    }

    /// Reads one string from its opening quote on. Returns `None` if it does not end.
    fn string(&mut self, raw: bool, text: &mut String) -> Option<()> {
        let quote = self.rest.next()?;
        let long = self.skip_quotes(quote, 2);
        if long == 1 {
            return Some(());
        }
        loop {
            match self.rest.next()? {
                c if c == quote && long == 0 => return Some(()),
                c if c == quote => match self.skip_quotes(quote, 2) {
                    2 => return Some(()),
                    more => text.extend(std::iter::repeat_n(quote, more + 1)),
                },
                '\n' if long == 0 => return None,
                '\\' if raw => {
                    text.push('\\');
                    text.push(self.rest.next()?);
                }
                '\\' => self.escape(text)?,
                c => text.push(c),
            }
        }
    }

    /// Skips up to `most` quotes and returns how many there were.
    fn skip_quotes(&mut self, quote: char, most: usize) -> usize {
        (0..most).take_while(|_| self.rest.next_if_eq(&quote).is_some()).count()
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        let plain = match self.rest.next()? {
            '\n' => return Some(()),
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c @ ('\\' | '\'' | '"') => c,
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            other => {
                text.push('\\');
                other
            }
        };
        text.push(plain);
        Some(())
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        let digits: Option<String> = (0..digits).map(|_| self.rest.next_if(char::is_ascii_hexdigit)).collect();
        char::from_u32(u32::from_str_radix(&digits?, 16).ok()?)
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
        }
        word
    }

    fn skip_spaces(&mut self) {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
    }

    /// Skips white space, line breaks and comments, as inside brackets.
    fn skip_blanks(&mut self) {
        while let Some(c) = self.rest.next_if(|c| c.is_whitespace() || *c == '#' || *c == '\\') {
            if c == '#' {
                self.skip_line();
            }
        }
    }

    fn skip_line(&mut self) {
        while self.rest.next_if(|c| *c != '\n').is_some() {}
    }

    /// Skips a statement with its line break, which inside brackets and strings does not end it.
    fn skip_statement(&mut self) {
        let mut open = 0_usize;
        while let Some(c) = self.rest.peek().copied() {
            match c {
                '"' | '\'' => {
                    // Escapes don't matter here, but an escaped quote does not end a string.
                    let _ = self.string(true, &mut String::new());
                    continue;
                }
                '#' => {
                    self.skip_line();
                    continue;
                }
                '(' | '[' | '{' => open += 1,
                ')' | ']' | '}' => open = open.saturating_sub(1),
                '\\' => {
                    self.rest.next();
                }
                _ => {}
            }
            self.rest.next();
            if c == '\n' && open == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
