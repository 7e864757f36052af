//! Statements as text that reads back as the same statement.
//!
//! What is SQL, sqlparser prints; queries with pipes are then put into pipelines, and printed that way when they read back
//! the same. sqlparser takes two quotes in a string's value for one that is escaped, so quotes are doubled before. Identifiers are printed as they stand in the tree, quoted when they were quoted.

use std::fmt::{self, Display};

use std::ops::ControlFlow;

use evenkeel_model::Privilege;
use sqlparser::ast as sql;
use sqlparser::ast::{VisitMut, VisitorMut};

use crate::ast::*;
use crate::resugar::resugar;

impl Statement {
    /// The statement without its place, to compare what two statements say. The names and values inside compare without
    /// their places anyway.
    #[must_use]
    pub fn without_spans(&self) -> Statement {
        let kind = match &self.kind {
            StatementKind::Explain { analyze, verbose, statement } => {
                let statement = Box::new(statement.without_spans());
                StatementKind::Explain { analyze: *analyze, verbose: *verbose, statement }
            }
            StatementKind::Cursor(CursorStatement::Declare { name, hold, query }) => {
                let query = Box::new(query.without_spans());
                StatementKind::Cursor(CursorStatement::Declare { name: name.clone(), hold: *hold, query })
            }
            kind => kind.clone(),
        };
        Statement { kind, span: 0..0 }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.kind.to_string();
        let reads_back = |text: &String| {
            crate::parse_statement(text).is_ok_and(|again| again.without_spans() == self.without_spans())
        };
        f.write_str(&resugar(&plain).filter(reads_back).unwrap_or(plain))
    }
}

/// The statement in sqlparser's spelling, pipes and all.
impl Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatementKind::Sql(statement) => sql_statement(f, statement),
            StatementKind::Upsert(insert) => f.write_str(&text(insert.as_ref()).replacen("INSERT", "UPSERT", 1)),
            StatementKind::CreateTable { create, shard_by } => create_table(f, create, shard_by.as_deref()),
            StatementKind::Explain { analyze, verbose, statement } => {
                let analyze = if *analyze { "ANALYZE " } else { "" };
                let verbose = if *verbose { "VERBOSE " } else { "" };
                write!(f, "EXPLAIN {analyze}{verbose}{}", statement.kind)
            }
            StatementKind::Copy(copy) => write!(f, "{copy}"),
            StatementKind::AlterSystemSet(settings) => write!(f, "ALTER SYSTEM SET {}", listed(settings, ", ")),
            StatementKind::AlterSystemReset(Some(name)) => write!(f, "ALTER SYSTEM RESET {name}"),
            StatementKind::AlterSystemReset(None) => f.write_str("ALTER SYSTEM RESET ALL"),
            StatementKind::KillQuery(id) => write!(f, "KILL QUERY {id}"),
            StatementKind::Show(show) => write!(f, "SHOW {show}"),
            StatementKind::Describe(table) => write!(f, "DESCRIBE {table}"),
            StatementKind::Locate { table, key } => {
                write!(f, "LOCATE {table} KEY ({})", key.iter().map(text).collect::<Vec<_>>().join(", "))
            }
            StatementKind::Shard(statement) => write!(f, "{statement}"),
            StatementKind::User(statement) => write!(f, "{statement}"),
            StatementKind::Cursor(statement) => write!(f, "{statement}"),
        }
    }
}

impl Display for CursorStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declare { name, hold, query } => {
                let hold = if *hold { " WITH HOLD" } else { "" };
                write!(f, "DECLARE {name} CURSOR{hold} FOR {}", query.kind)
            }
            Self::Fetch { name, rows: Some(rows) } => write!(f, "FETCH {rows} FROM {name}"),
            Self::Fetch { name, rows: None } => write!(f, "FETCH ALL FROM {name}"),
            Self::Close(Some(name)) => write!(f, "CLOSE {name}"),
            Self::Close(None) => f.write_str("CLOSE ALL"),
        }
    }
}

fn sql_statement(f: &mut fmt::Formatter<'_>, statement: &sql::Statement) -> fmt::Result {
    let mut statement = statement.clone();
    if let sql::Statement::Comment { comment: Some(comment), .. } = &mut statement {
        *comment = comment.replace('\'', "''");
    }
    f.write_str(&text(&statement))
}

fn create_table(f: &mut fmt::Formatter<'_>, create: &sql::CreateTable, shard_by: Option<&[sql::Ident]>) -> fmt::Result {
    let Some(columns) = shard_by else { return f.write_str(&text(create)) };
    let mut table = create.clone();
    let query = table.query.take();
    let written = text(&table);
    // Without columns and query sqlparser writes an empty list, which a CREATE TABLE … AS does not have.
    let written = if query.is_some() { written.trim_end_matches(" ()") } else { &written };
    write!(f, "{written} SHARD BY ({})", listed(columns, ", "))?;
    query.map_or(Ok(()), |query| write!(f, " AS {}", text(&query)))
}

/// What sqlparser prints, with every string spelled so that it reads back.
fn text<T: Clone + Display + VisitMut>(node: &T) -> String {
    let mut node = node.clone();
    let ControlFlow::Continue(()) = node.visit(&mut Quotes);
    node.to_string()
}

/// Doubles the quotes in strings.
struct Quotes;

impl VisitorMut for Quotes {
    type Break = std::convert::Infallible;

    fn pre_visit_value(&mut self, value: &mut sql::ValueWithSpan) -> ControlFlow<Self::Break> {
        if let sql::Value::SingleQuotedString(text) | sql::Value::NationalStringLiteral(text) = &mut value.value
            && text.contains('\'')
        {
            *text = text.replace('\'', "''");
        }
        ControlFlow::Continue(())
    }
}

fn listed<T: Display>(items: &[T], separator: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, text(&self.value))
    }
}

impl Display for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Show::Tables => f.write_str("TABLES"),
            Show::Columns(table) => write!(f, "COLUMNS FROM {table}"),
            Show::Shards => f.write_str("SHARDS"),
            Show::Jobs => f.write_str("JOBS"),
            Show::Nodes => f.write_str("NODES"),
            Show::Settings => f.write_str("SETTINGS"),
            Show::Balancer => f.write_str("BALANCER"),
            Show::Variable(name) => write!(f, "{name}"),
        }
    }
}

impl Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            CopySource::Table { name, columns } if columns.is_empty() => write!(f, "COPY {name}")?,
            CopySource::Table { name, columns } => write!(f, "COPY {name} ({})", listed(columns, ", "))?,
            CopySource::Query(query) => write!(f, "COPY ({})", text(query.as_ref()))?,
        }
        f.write_str(if self.direction == CopyDirection::From { " FROM " } else { " TO " })?;
        match &self.endpoint {
            CopyEndpoint::File(path) => f.write_str(&quoted(path))?,
            CopyEndpoint::Stdin => f.write_str("STDIN")?,
            CopyEndpoint::Stdout => f.write_str("STDOUT")?,
        }
        if self.options.is_empty() {
            return Ok(());
        }
        let options: Vec<String> =
            self.options.iter().map(|option| format!("{} {}", option.name, text(&option.value))).collect();
        write!(f, " WITH ({})", options.join(", "))
    }
}

impl Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{} TO {}", self.first, self.last) }
    }
}

impl Display for JobReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobReference::Id(id) => write!(f, "{id}"),
            JobReference::Last => f.write_str("LAST"),
            JobReference::All => f.write_str("ALL"),
        }
    }
}

impl Display for ShardStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardStatement::Rebalance { options } if options.is_empty() => f.write_str("REBALANCE SHARDS"),
            ShardStatement::Rebalance { options } => write!(f, "REBALANCE SHARDS WITH {}", listed(options, " AND ")),
            ShardStatement::ExplainShard(shard) => write!(f, "EXPLAIN SHARD {shard}"),
            ShardStatement::Split { shard, into, at_load_midpoint } => {
                let into = into.map_or(String::new(), |into| format!(" INTO {into}"));
                let midpoint = if *at_load_midpoint { " AT LOAD MIDPOINT" } else { "" };
                write!(f, "SPLIT SHARD {shard}{into}{midpoint}")
            }
            ShardStatement::Merge { shards } => write!(f, "MERGE SHARDS {}", listed(shards, ", ")),
            ShardStatement::MoveSlots { slots, from, to } => {
                write!(f, "MOVE SLOTS {} FROM SHARD {from} TO SHARD {to}", listed(slots, ", "))
            }
            ShardStatement::Pin(shard) => write!(f, "PIN SHARD {shard}"),
            ShardStatement::Unpin(shard) => write!(f, "UNPIN SHARD {shard}"),
            ShardStatement::AddShard => f.write_str("ADD SHARD"),
            ShardStatement::RemoveShard(shard) => write!(f, "REMOVE SHARD {shard}"),
            ShardStatement::PauseJob(job) => write!(f, "PAUSE JOB {job}"),
            ShardStatement::ResumeJob(job) => write!(f, "RESUME JOB {job}"),
            ShardStatement::CancelJob(job) => write!(f, "CANCEL JOB {job}"),
            ShardStatement::UndoJob(job) => write!(f, "UNDO JOB {job}"),
            ShardStatement::WaitForJob { job, timeout } => {
                let timeout = timeout.as_ref().map_or(String::new(), |timeout| format!(" TIMEOUT {}", quoted(timeout)));
                write!(f, "WAIT FOR JOB {job}{timeout}")
            }
            ShardStatement::VerifyShard(shard) => write!(f, "VERIFY SHARD {shard}"),
        }
    }
}

impl Display for UserStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserStatement::Create { name, if_not_exists, password, role } => {
                let absent = if *if_not_exists { "IF NOT EXISTS " } else { "" };
                write!(f, "CREATE USER {absent}{name} PASSWORD {} ROLE {role}", quoted(password.reveal()))
            }
            UserStatement::Alter { name, change: UserChange::Password(password) } => {
                write!(f, "ALTER USER {name} PASSWORD {}", quoted(password.reveal()))
            }
            UserStatement::Alter { name, change: UserChange::Role(role) } => {
                write!(f, "ALTER USER {name} SET ROLE {role}")
            }
            UserStatement::Alter { name, change: UserChange::ConnectionLimit(limit) } => {
                let limit = limit.map_or(-1, i64::from);
                write!(f, "ALTER USER {name} CONNECTION LIMIT {limit}")
            }
            UserStatement::Drop { names, if_exists } => {
                write!(f, "DROP USER {}{}", if *if_exists { "IF EXISTS " } else { "" }, listed(names, ", "))
            }
            UserStatement::Grant { right, to } => write!(f, "GRANT {right} TO {}", listed(to, ", ")),
            UserStatement::Revoke { right, from } => write!(f, "REVOKE {right} FROM {}", listed(from, ", ")),
        }
    }
}

impl Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Right::Role(role) => write!(f, "{role}"),
            Right::On { privileges, tables } => {
                let privileges = if privileges.len() == Privilege::ALL.len() {
                    "ALL".to_string()
                } else {
                    listed(&privileges.iter().collect::<Vec<_>>(), ", ")
                };
                write!(f, "{privileges} ON {}", listed(tables, ", "))
            }
        }
    }
}
