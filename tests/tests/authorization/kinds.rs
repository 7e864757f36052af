//! The kinds of statement. A new variant of PQL's tree does not compile here until it has a kind, and a kind without a
//! statement in the table fails a test.

use evenkeel_pql::StatementKind;
use evenkeel_pql::ast::{
    CopyDirection, CopyEndpoint, CopySource, CursorStatement, Right, ShardStatement, Show, UserChange, UserStatement,
};
use sqlparser::ast::{self, Statement as Sql};

macro_rules! kinds {
    ($($name:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($name),*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

kinds! {
    Query QueryForUpdate Insert Upsert Update Delete Truncate
    CreateTable CreateView CreateIndex AlterTable DropTable DropView
    Begin Commit Rollback Savepoint ReleaseSavepoint Set SetTransaction SetTimeZone SetNames Reset Vacuum Analyze
    Explain ExplainAnalyze
    CopyFromFile CopyToFile CopyQueryToFile CopyFromStdin CopyToStdout CopyQueryToStdout
    AlterSystemSet AlterSystemReset KillQuery Describe Locate
    ShowTables ShowColumns ShowShards ShowJobs ShowNodes ShowSettings ShowBalancer ShowVariable
    Rebalance ExplainShard SplitShard MergeShards MoveSlots PinShard UnpinShard AddShard RemoveShard VerifyShard
    PauseJob ResumeJob CancelJob UndoJob WaitForJob
    CreateUser AlterUserPassword AlterUserRole AlterUserLimit DropUser GrantRole GrantPrivileges RevokeRole RevokePrivileges
    DeclareCursor FetchCursor CloseCursor
    Unsupported
}

impl Kind {
    pub fn of(statement: &StatementKind) -> Self {
        match statement {
            StatementKind::Sql(statement) => of_sql(statement),
            StatementKind::Upsert(_) => Self::Upsert,
            StatementKind::CreateTable { .. } => Self::CreateTable,
            StatementKind::Explain { analyze: true, .. } => Self::ExplainAnalyze,
            StatementKind::Explain { .. } => Self::Explain,
            StatementKind::Copy(copy) => match (copy.direction, &copy.source, &copy.endpoint) {
                (CopyDirection::From, _, CopyEndpoint::File(_)) => Self::CopyFromFile,
                (CopyDirection::From, _, CopyEndpoint::Stdin | CopyEndpoint::Stdout) => Self::CopyFromStdin,
                (CopyDirection::To, CopySource::Table { .. }, CopyEndpoint::File(_)) => Self::CopyToFile,
                (CopyDirection::To, CopySource::Query(_), CopyEndpoint::File(_)) => Self::CopyQueryToFile,
                (CopyDirection::To, CopySource::Table { .. }, CopyEndpoint::Stdin | CopyEndpoint::Stdout) => {
                    Self::CopyToStdout
                }
                (CopyDirection::To, CopySource::Query(_), CopyEndpoint::Stdin | CopyEndpoint::Stdout) => {
                    Self::CopyQueryToStdout
                }
            },
            StatementKind::AlterSystemSet(_) => Self::AlterSystemSet,
            StatementKind::AlterSystemReset(_) => Self::AlterSystemReset,
            StatementKind::KillQuery(_) => Self::KillQuery,
            StatementKind::Show(show) => of_show(show),
            StatementKind::Describe(_) => Self::Describe,
            StatementKind::Locate { .. } => Self::Locate,
            StatementKind::Shard(statement) => of_shards(statement),
            StatementKind::User(statement) => of_users(statement),
            StatementKind::Cursor(CursorStatement::Declare { .. }) => Self::DeclareCursor,
            StatementKind::Cursor(CursorStatement::Fetch { .. }) => Self::FetchCursor,
            StatementKind::Cursor(CursorStatement::Close(_)) => Self::CloseCursor,
        }
    }

    /// Whether rows go between the statement and the client's own stream.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::CopyFromStdin | Self::CopyToStdout | Self::CopyQueryToStdout)
    }

    /// Whether it is about a cursor, which only a connection has.
    pub fn is_cursor(self) -> bool {
        matches!(self, Self::DeclareCursor | Self::FetchCursor | Self::CloseCursor)
    }

    /// Whether a statement changes rows, or files, and nothing else.
    pub fn changes_rows(self) -> bool {
        matches!(
            self,
            Self::Insert
                | Self::Upsert
                | Self::Update
                | Self::Delete
                | Self::CopyFromFile
                | Self::CopyToFile
                | Self::CopyQueryToFile
                | Self::CopyFromStdin
        )
    }

    /// Whether a statement leaves everything but its session as it is.
    pub fn only_reads(self) -> bool {
        matches!(
            self,
            Self::Query
                | Self::CopyToStdout
                | Self::CopyQueryToStdout
                | Self::Explain
                | Self::ExplainAnalyze
                | Self::Describe
                | Self::Locate
                | Self::ShowTables
                | Self::ShowColumns
                | Self::ShowShards
                | Self::ShowJobs
                | Self::ShowNodes
                | Self::ShowSettings
                | Self::ShowBalancer
                | Self::ShowVariable
                | Self::DeclareCursor
                | Self::FetchCursor
                | Self::CloseCursor
        )
    }
}

/// The parser's tree has far more than the engine: what the engine refuses from everybody is of one kind.
fn of_sql(statement: &Sql) -> Kind {
    match statement {
        Sql::Query(query) if !query.locks.is_empty() => Kind::QueryForUpdate,
        Sql::Query(_) => Kind::Query,
        Sql::Insert(_) => Kind::Insert,
        Sql::Update(_) => Kind::Update,
        Sql::Delete(_) => Kind::Delete,
        Sql::Truncate(_) => Kind::Truncate,
        Sql::CreateView(_) => Kind::CreateView,
        Sql::CreateIndex(_) => Kind::CreateIndex,
        Sql::AlterTable(_) => Kind::AlterTable,
        Sql::Drop { object_type: ast::ObjectType::Table, .. } => Kind::DropTable,
        Sql::Drop { object_type: ast::ObjectType::View, .. } => Kind::DropView,
        Sql::StartTransaction { .. } => Kind::Begin,
        Sql::Commit { .. } => Kind::Commit,
        Sql::Rollback { .. } => Kind::Rollback,
        Sql::Savepoint { .. } => Kind::Savepoint,
        Sql::ReleaseSavepoint { .. } => Kind::ReleaseSavepoint,
        Sql::Set(ast::Set::SingleAssignment { .. }) => Kind::Set,
        Sql::Set(ast::Set::SetTransaction { .. }) => Kind::SetTransaction,
        Sql::Set(ast::Set::SetTimeZone { .. }) => Kind::SetTimeZone,
        Sql::Set(ast::Set::SetNames { .. } | ast::Set::SetNamesDefault {}) => Kind::SetNames,
        Sql::Reset(_) => Kind::Reset,
        Sql::Vacuum(_) => Kind::Vacuum,
        Sql::Analyze(_) => Kind::Analyze,
        _ => Kind::Unsupported,
    }
}

fn of_show(show: &Show) -> Kind {
    match show {
        Show::Tables => Kind::ShowTables,
        Show::Columns(_) => Kind::ShowColumns,
        Show::Shards => Kind::ShowShards,
        Show::Jobs => Kind::ShowJobs,
        Show::Nodes => Kind::ShowNodes,
        Show::Settings => Kind::ShowSettings,
        Show::Balancer => Kind::ShowBalancer,
        Show::Variable(_) => Kind::ShowVariable,
    }
}

fn of_shards(statement: &ShardStatement) -> Kind {
    match statement {
        ShardStatement::Rebalance { .. } => Kind::Rebalance,
        ShardStatement::ExplainShard(_) => Kind::ExplainShard,
        ShardStatement::Split { .. } => Kind::SplitShard,
        ShardStatement::Merge { .. } => Kind::MergeShards,
        ShardStatement::MoveSlots { .. } => Kind::MoveSlots,
        ShardStatement::Pin(_) => Kind::PinShard,
        ShardStatement::Unpin(_) => Kind::UnpinShard,
        ShardStatement::AddShard => Kind::AddShard,
        ShardStatement::RemoveShard(_) => Kind::RemoveShard,
        ShardStatement::PauseJob(_) => Kind::PauseJob,
        ShardStatement::ResumeJob(_) => Kind::ResumeJob,
        ShardStatement::CancelJob(_) => Kind::CancelJob,
        ShardStatement::UndoJob(_) => Kind::UndoJob,
        ShardStatement::WaitForJob { .. } => Kind::WaitForJob,
        ShardStatement::VerifyShard(_) => Kind::VerifyShard,
    }
}

fn of_users(statement: &UserStatement) -> Kind {
    match statement {
        UserStatement::Create { .. } => Kind::CreateUser,
        UserStatement::Alter { change: UserChange::Password(_), .. } => Kind::AlterUserPassword,
        UserStatement::Alter { change: UserChange::Role(_), .. } => Kind::AlterUserRole,
        UserStatement::Alter { change: UserChange::ConnectionLimit(_), .. } => Kind::AlterUserLimit,
        UserStatement::Drop { .. } => Kind::DropUser,
        UserStatement::Grant { right: Right::Role(_), .. } => Kind::GrantRole,
        UserStatement::Grant { right: Right::On { .. }, .. } => Kind::GrantPrivileges,
        UserStatement::Revoke { right: Right::Role(_), .. } => Kind::RevokeRole,
        UserStatement::Revoke { right: Right::On { .. }, .. } => Kind::RevokePrivileges,
    }
}
