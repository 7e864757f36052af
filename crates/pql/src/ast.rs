//! What a script is after parsing.
//!
//! Queries and data statements are sqlparser's tree, whichever way they were spelled: a pipeline `QUERY t WHERE …` is
//! a [`sqlparser::ast::Query`] with pipe operators. What is PQL's own (clauses that SQL lacks, and everything that
//! looks at shards and moves them) stands here.

use std::collections::BTreeSet;
use std::fmt;

use evenkeel_model::{Privilege, Role, Span};
use sqlparser::ast as sql;

/// One statement of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Where it stands in the script: from its first token to its last, without the semicolon.
    pub span: Span,
}

/// The kinds of statement.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// Anything that sqlparser's tree says completely: queries (SQL and pipelines), INSERT, UPDATE, DELETE, ALTER TABLE,
    /// DROP, TRUNCATE, CREATE VIEW, BEGIN, COMMIT, SET, SHOW …
    Sql(Box<sql::Statement>),
    /// `UPSERT INTO t …`: an INSERT that replaces the row that has the same primary key.
    Upsert(Box<sql::Insert>),
    /// `CREATE TABLE … [SHARD BY (…)]`
    CreateTable { create: Box<sql::CreateTable>, shard_by: Option<Vec<sql::Ident>> },
    /// `EXPLAIN [ANALYZE] [VERBOSE] statement`
    Explain { analyze: bool, verbose: bool, statement: Box<Statement> },
    /// `COPY t FROM 'file'`, `COPY t TO 'file'`, `COPY (QUERY …) TO 'file'`
    Copy(Copy),
    /// `ALTER SYSTEM SET name = value, …`
    AlterSystemSet(Vec<Assignment>),
    /// `ALTER SYSTEM RESET name` or `ALTER SYSTEM RESET ALL` (`None`)
    AlterSystemReset(Option<sql::Ident>),
    /// `KILL QUERY id`
    KillQuery(u64),
    /// `SHOW TABLES | COLUMNS FROM t | SHARDS | JOBS | NODES | SETTINGS | BALANCER | name | ALL`
    Show(Show),
    /// `DESCRIBE t`
    Describe(sql::ObjectName),
    /// `LOCATE t KEY (v, …)`
    Locate { table: sql::ObjectName, key: Vec<sql::Expr> },
    /// Statements that look at shards and move them.
    Shard(ShardStatement),
    /// Users and rights.
    User(UserStatement),
    /// Answers that are fetched in parts, by statements.
    Cursor(CursorStatement),
}

/// Statements about cursors. They belong to connections: a session has no answers that outlast their statement.
#[derive(Clone, Debug, PartialEq)]
pub enum CursorStatement {
    /// `DECLARE name [NO SCROLL] CURSOR [WITH HOLD] FOR query`; `hold`: it outlasts its transaction.
    Declare { name: sql::Ident, hold: bool, query: Box<Statement> },
    /// `FETCH [FORWARD] [n | ALL | NEXT] FROM name`; `None` are all.
    Fetch { name: sql::Ident, rows: Option<u32> },
    /// `CLOSE name` or `CLOSE ALL` (`None`)
    Close(Option<sql::Ident>),
}

/// What SHOW shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    Tables,
    Columns(sql::ObjectName),
    Shards,
    Jobs,
    Nodes,
    Settings,
    Balancer,
    /// One session or system setting (`SHOW server_version`, `SHOW synchronous_commit`).
    Variable(sql::Ident),
}

/// `name = value`, as in ALTER SYSTEM SET and REBALANCE … WITH. The value is a literal, or a bare word (`on`,
/// `adaptive`) which stands here as an identifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub name: sql::Ident,
    pub value: sql::Expr,
}

/// COPY between a table or query and a file, or the client's stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    pub source: CopySource,
    pub direction: CopyDirection,
    pub endpoint: CopyEndpoint,
    /// `WITH (format csv, header true, null 'NA', …)`; names in lower case.
    pub options: Vec<Assignment>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CopySource {
    Table { name: sql::ObjectName, columns: Vec<sql::Ident> },
    Query(Box<sql::Query>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    From,
    To,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CopyEndpoint {
    /// A path, as written.
    File(String),
    Stdin,
    Stdout,
}

/// `a TO b` in MOVE SLOTS: both ends included. `a` alone is `a TO a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    pub first: u32,
    pub last: u32,
}

/// A job by number, or by what WAIT FOR JOB may say instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobReference {
    Id(u64),
    Last,
    All,
}

/// Statements that look at shards and move them.
#[derive(Clone, Debug, PartialEq)]
pub enum ShardStatement {
    /// `REBALANCE SHARDS [WITH name = value AND …]`
    Rebalance { options: Vec<Assignment> },
    /// `EXPLAIN SHARD n`
    ExplainShard(u64),
    /// `SPLIT SHARD n [INTO k] [AT LOAD MIDPOINT]`
    Split { shard: u64, into: Option<u32>, at_load_midpoint: bool },
    /// `MERGE SHARDS a, b`
    Merge { shards: Vec<u64> },
    /// `MOVE SLOTS a TO b [, …] FROM SHARD x TO SHARD y`
    MoveSlots { slots: Vec<SlotRange>, from: u64, to: u64 },
    /// `PIN SHARD n`
    Pin(u64),
    /// `UNPIN SHARD n`
    Unpin(u64),
    /// `ADD SHARD`
    AddShard,
    /// `REMOVE SHARD n`
    RemoveShard(u64),
    /// `PAUSE JOB n`
    PauseJob(u64),
    /// `RESUME JOB n`
    ResumeJob(u64),
    /// `CANCEL JOB n`
    CancelJob(u64),
    /// `UNDO JOB n`
    UndoJob(u64),
    /// `WAIT FOR JOB n | LAST | ALL [TIMEOUT '60s']`
    WaitForJob { job: JobReference, timeout: Option<String> },
    /// `VERIFY SHARD n`
    VerifyShard(u64),
}

/// Users and rights.
#[derive(Clone, Debug, PartialEq)]
pub enum UserStatement {
    /// `CREATE USER [IF NOT EXISTS] name PASSWORD '…' [ROLE role]`
    Create { name: sql::Ident, if_not_exists: bool, password: Password, role: Role },
    /// `ALTER USER name PASSWORD '…'`, `ALTER USER name SET ROLE role`, `ALTER USER name CONNECTION LIMIT n`
    Alter { name: sql::Ident, change: UserChange },
    /// `DROP USER [IF EXISTS] name, …`
    Drop { names: Vec<sql::Ident>, if_exists: bool },
    /// `GRANT right TO name, …`
    Grant { right: Right, to: Vec<sql::Ident> },
    /// `REVOKE right FROM name, …`
    Revoke { right: Right, from: Vec<sql::Ident> },
}

/// What ALTER USER changes.
#[derive(Clone, Debug, PartialEq)]
pub enum UserChange {
    Password(Password),
    Role(Role),
    /// Connections at the same time; `None`, written -1, where the setting for all users says.
    ConnectionLimit(Option<u32>),
}

/// What is granted or taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Right {
    /// `operator`, `admin`
    Role(Role),
    /// `SELECT, … | ALL ON t, …`
    On { privileges: BTreeSet<Privilege>, tables: Vec<sql::ObjectName> },
}

/// A password as it was written. It shows itself only where a statement is printed to be read back.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Hides a text.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
