//! What is wrong with a configuration, and where.

use std::fmt;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Lines and columns count from 1, columns in characters.
    File {
        name: String,
        line: usize,
        column: usize,
    },
    Variable(String),
    Flag(String),
    /// In the database itself.
    AlterSystem,
}

impl Origin {
    /// The word in SYSTEM.SETTINGS.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Variable(_) => "environment",
            Self::Flag(_) => "flag",
            Self::AlterSystem => "ALTER SYSTEM",
        }
    }
}

/// Where it is, without the column.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, .. } => write!(f, "{name}:{line}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Default | Self::AlterSystem => f.write_str(self.word()),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, if it is in one place.
    pub at: Option<Origin>,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(at: Option<Origin>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: None }
    }

    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The place and the message, on one line.
    pub fn line(&self) -> String {
        match &self.at {
            Some(Origin::File { name, line, column }) => format!("{name}:{line}:{column}: {}", self.message),
            Some(Origin::Variable(name) | Origin::Flag(name)) => format!("{name}: {}", self.message),
            Some(Origin::Default | Origin::AlterSystem) | None => self.message.clone(),
        }
    }
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}ERROR: {}", problem.line())?;
            if let Some(hint) = &problem.hint {
                write!(f, "\nHINT: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
