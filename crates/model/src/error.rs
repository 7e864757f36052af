//! The one error that people see: what is wrong, where, and what can be done about it.
//!
//! Message, detail, hint and place are apart, because they go to different places: psql draws its caret from the
//! place, a script prints the hint, a program looks only at the SQLSTATE. There are few states, split by what the
//! caller does next (retry, mend the statement, free some space), not by which function noticed.

use std::fmt;
use std::ops::Range;

/// A place in the text of a statement or a script: byte offsets, end exclusive.
pub type Span = Range<usize>;

/// A result whose error is Evenkeel's.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! sql_states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// Five-character SQLSTATE codes, as PostgreSQL assigns them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SqlState { $($(#[$doc])* $name,)* }

        impl SqlState {
            /// Every state that Evenkeel answers with.
            pub const ALL: &'static [SqlState] = &[$(SqlState::$name,)*];

            /// The five characters of the code.
            pub fn code(self) -> &'static str {
                match self { $(SqlState::$name => $code,)* }
            }
        }
    };
}

sql_states! {
    /// The statement is not valid PQL.
    SyntaxError = "42601";
    /// No such table, view or schema.
    UndefinedTable = "42P01";
    /// No such column.
    UndefinedColumn = "42703";
    /// No such function, or not with these arguments.
    UndefinedFunction = "42883";
    /// No such setting, parameter, shard, job or other named thing.
    UndefinedObject = "42704";
    /// A parameter that was not given a value.
    UndefinedParameter = "42P02";
    /// A table of that name is there already.
    DuplicateTable = "42P07";
    /// A column of that name is there already.
    DuplicateColumn = "42701";
    /// A setting, constraint or other object is there already.
    DuplicateObject = "42710";
    /// The user may not do this.
    InsufficientPrivilege = "42501";
    /// No such user, or the session's user is no more.
    InvalidAuthorization = "28000";
    /// The password is not the user's; said of unknown users, too.
    InvalidPassword = "28P01";
    /// The user owns tables, so that it can't be dropped.
    DependentObjectsStillExist = "2BP01";
    /// A column name that could mean either of two.
    AmbiguousColumn = "42702";
    /// The types do not fit the operator, function or column.
    DatatypeMismatch = "42804";
    /// A name is used for another kind of object than it has.
    WrongObjectType = "42809";
    /// The schema asked for cannot be (a primary key column that is missing, say).
    InvalidTableDefinition = "42P16";
    /// A column is neither grouped by nor aggregated.
    GroupingError = "42803";
    /// Recognised, and not carried out by this version.
    FeatureNotSupported = "0A000";
    /// A NULL where the column says NOT NULL.
    NotNullViolation = "23502";
    /// The primary key is there already.
    UniqueViolation = "23505";
    /// A CHECK said no.
    CheckViolation = "23514";
    /// The text is not of the type it was read as.
    InvalidTextRepresentation = "22P02";
    /// A date or time that does not exist.
    InvalidDatetimeFormat = "22007";
    /// A number or date outside its type's range.
    NumericValueOutOfRange = "22003";
    /// A string longer than its column.
    StringDataRightTruncation = "22001";
    /// Division by zero.
    DivisionByZero = "22012";
    /// A setting or option with a value outside its range.
    InvalidParameterValue = "22023";
    /// A line of a COPY that does not fit the table.
    BadCopyFileFormat = "22P04";
    /// A row that an ON CONFLICT DO UPDATE would have to change twice.
    CardinalityViolation = "21000";
    /// Another transaction changed the same row first: retry.
    SerializationFailure = "40001";
    /// Transactions wait for each other's rows, and this one was chosen to fail: retry.
    DeadlockDetected = "40P01";
    /// The transaction failed earlier and takes nothing but ROLLBACK.
    InFailedTransaction = "25P02";
    /// BEGIN inside a transaction.
    ActiveTransaction = "25001";
    /// COMMIT, ROLLBACK or SAVEPOINT outside a transaction.
    NoActiveTransaction = "25P01";
    /// A write in a read-only transaction or to something that is read-only.
    ReadOnly = "25006";
    /// No such savepoint.
    InvalidSavepoint = "3B001";
    /// Stopped by KILL QUERY or Ctrl-C.
    QueryCanceled = "57014";
    /// The operation took longer than its limit.
    LockNotAvailable = "55P03";
    /// The object is not in a state that allows this.
    ObjectNotInPrerequisiteState = "55000";
    /// The memory limit of the query is reached.
    OutOfMemory = "53200";
    /// No room on the disk.
    DiskFull = "53100";
    /// A limit of the program is exceeded (a row too large, a statement too deep).
    ProgramLimitExceeded = "54000";
    /// A file or device failed.
    IoError = "58030";
    /// No such file.
    UndefinedFile = "58P01";
    /// Stored data is damaged.
    DataCorrupted = "XX001";
    /// Another process has the directory, or the directory is not one of ours.
    CannotConnectNow = "57P03";
    OperatorIntervention = "57000";
    /// The client cannot connect to a server.
    CannotConnect = "08001";
    /// The connection to the server was lost.
    ConnectionFailure = "08006";
    /// A message that the protocol does not have, or not here: the connection ends.
    ProtocolViolation = "08P01";
    /// A parameter's bytes are no value of its type.
    InvalidBinaryRepresentation = "22P03";
    /// Text that is not UTF-8.
    CharacterNotInRepertoire = "22021";
    /// No such prepared statement.
    InvalidStatementName = "26000";
    /// No such portal.
    InvalidCursorName = "34000";
    /// A prepared statement of that name is there already.
    DuplicatePreparedStatement = "42P05";
    /// A portal of that name is there already.
    DuplicateCursor = "42P03";
    /// As many connections as there may be.
    TooManyConnections = "53300";
    /// The server stops.
    AdminShutdown = "57P01";
    /// A transaction block was idle for too long: the connection ends.
    IdleInTransactionTimeout = "25P03";
    /// A defect of Evenkeel itself.
    InternalError = "XX000";
}

/// What went wrong, in the user's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What the caller can react to.
    pub state: SqlState,
    /// One line: what is wrong.
    pub message: String,
    /// More about the case: the key, the file and line, the values.
    pub detail: Option<String>,
    /// What can be done.
    pub hint: Option<String>,
    /// Where in the statement's text.
    pub span: Option<Span>,
}

impl Error {
    /// An error of this state with a one-line message.
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), detail: None, hint: None, span: None }
    }

    /// A defect of Evenkeel itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::InternalError, message)
    }

    /// Recognised, and not carried out by this version.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FeatureNotSupported, message)
    }

    /// Adds what is known about the case.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what can be done.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the place in the statement's text.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Whether the same transaction, tried again from its start, may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self.state, SqlState::SerializationFailure | SqlState::DeadlockDetected)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Error {}

/// The candidate nearest to `word`, when it is near enough to be what was meant.
///
/// Distance is Damerau-Levenshtein (optimal string alignment) without regard to case; a third of the word's length,
/// and at least one, may be wrong. Ties go to the first candidate.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_suggested_only_when_near() {
        let tables = ["flights", "airlines", "planes"];
        assert_eq!(did_you_mean("flihgts", tables), Some("flights"));
        assert_eq!(did_you_mean("AIRLINE", tables), Some("airlines"));
        assert_eq!(did_you_mean("weather", tables), None);
        assert_eq!(did_you_mean("x", ["y"]), None);
    }

    #[test]
    fn states_are_distinct_five_character_codes() {
        let codes: std::collections::BTreeSet<_> = SqlState::ALL.iter().map(|state| state.code()).collect();
        assert_eq!(codes.len(), SqlState::ALL.len());
        assert!(codes.iter().all(|code| code.len() == 5));
    }
}
