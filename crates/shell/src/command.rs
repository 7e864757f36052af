//! What each backslash command does.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use evenkeel_model::{Error, SqlState, did_you_mean};

use crate::backslash::{self, Assertion, COMMANDS, Command, Copying, Watch};
use crate::connection::Event;
use crate::format::{Expanded, Format};
use crate::language;
use crate::rows::{Batch, Scalar};
use crate::run;
use crate::shell::{Failure, Shell};
use crate::value::{self, Dialect};

/// How deep scripts may include each other; one that includes itself ends here.
const INCLUDE_DEPTH_MAX: usize = 16;
/// Values that did not turn out true are named up to this many.
const SURPRISES_SHOWN_MAX: usize = 5;

impl Shell {
    /// Does what a backslash command says; places in errors count from its backslash.
    pub(crate) async fn command(&mut self, text: &str) -> Result<(), Failure> {
        match backslash::parse(text)? {
            Command::Assert(assertion) => self.assert(&assertion).await,
            Command::Copy(copying) => self.copy(&copying).await,
            Command::Describe(name) => self.describe(&name).await,
            Command::Echo(text) => self.echo(&text),
            Command::Expanded(choice) => self.set_expanded(choice),
            Command::Format(choice) => self.set_format(choice),
            Command::Help(topic) => self.help(topic.as_deref()),
            Command::Include(file) => Box::pin(self.include(file)).await,
            Command::ListTables { sizes: false } => self.query("SHOW TABLES").await,
            Command::ListTables { sizes: true } => self.query("SELECT * FROM system.tables ORDER BY table_name").await,
            Command::Output(file) => self.redirect(file),
            Command::Quit => Err(Failure::Quit),
            Command::Set { name, value } => {
                self.unset(&name);
                self.settings.variables.push((name, value));
                Ok(())
            }
            Command::ShowVariables(name) => self.show_variables(name.as_deref()),
            Command::Timing(choice) => self.set_timing(choice),
            Command::Unset(name) => {
                self.unset(&name);
                Ok(())
            }
            Command::Watch(watch) => self.watch(watch).await,
        }
    }

    async fn assert(&mut self, assertion: &Assertion) -> Result<(), Failure> {
        let shift = |mut error: Error| {
            error.span = error.span.map(|span| span.start + assertion.offset..span.end + assertion.offset);
            error
        };
        match self.collect(&assertion.query).await {
            Ok(batches) => check_all_true(&batches).map_err(|message| {
                let place = assertion.offset..assertion.offset + assertion.query.len();
                Error::new(SqlState::CheckViolation, "the assertion does not hold")
                    .with_detail(message)
                    .at(place)
                    .into()
            }),
            Err(Failure::Failed(error)) => Err(Failure::Failed(shift(error))),
            Err(failure) => Err(failure),
        }
    }

    /// Runs a query that the user did not write: errors have no place, `\watch` does not repeat it.
    async fn query(&mut self, query: &str) -> Result<(), Failure> {
        let last = self.last_statement.take();
        let outcome = self.statement(query).await;
        self.last_statement = last;
        outcome.map_err(without_place)
    }

    /// Copies from or to a file on this side of the connection. Places in errors would be those of another statement.
    async fn copy(&mut self, copying: &Copying) -> Result<(), Failure> {
        let Copying { statement, file, is_input } = copying;
        let outcome = match is_input {
            true => {
                let rows = File::open(file).map_err(|error| unreadable(file, &error))?;
                self.statement_with(statement, Some(Box::new(rows))).await
            }
            false => self.copy_out(statement, file).await,
        };
        outcome.map_err(without_place)
    }

    async fn copy_out(&mut self, statement: &str, path: &Path) -> Result<(), Failure> {
        self.revive().await?;
        let (mut file, mut tag) = (None, String::new());
        // A statement that is refused must not have emptied a file.
        let create = || File::create(path).map(BufWriter::new);
        let take = |shell: &mut Self, event| match event {
            Event::Copy(rows) => {
                let file = match &mut file {
                    Some(file) => file,
                    none => none.insert(create()?),
                };
                file.write_all(&rows)
            }
            Event::Notice(notice) => shell.notice(&notice),
            Event::Complete(done) => {
                tag = done;
                Ok(())
            }
            _ => Ok(()),
        };
        self.drive(statement, None, take).await?;
        let finished = file.map_or_else(create, Ok).and_then(|mut file| file.flush());
        finished.map_err(|error| unwritable(path, &error))?;
        if self.settings.format.is_for_people() { Ok(self.say(&tag)?) } else { Ok(()) }
    }

    async fn describe(&mut self, name: &str) -> Result<(), Failure> {
        self.query(&format!("DESCRIBE {name}")).await?;
        if !self.settings.format.is_for_people() {
            return Ok(());
        }
        // Shards and sizes are an extra: a view, or a server that does not tell, is described without.
        let filter =
            format!("SELECT * FROM system.tables WHERE table_name = '{}'", stored_name(name).replace('\'', "''"));
        match self.collect(&filter).await {
            Ok(batches) => facts(&batches).iter().try_for_each(|fact| self.say(fact)).map_err(Failure::from),
            Err(Failure::Failed(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn echo(&mut self, text: &str) -> Result<(), Failure> {
        let line = substitute(text, &self.settings.variables);
        Ok(self.say(&line)?)
    }

    async fn include(&mut self, file: PathBuf) -> Result<(), Failure> {
        if self.including.len() >= INCLUDE_DEPTH_MAX {
            let message = format!("scripts include each other more than {INCLUDE_DEPTH_MAX} deep");
            let error = Error::new(SqlState::ProgramLimitExceeded, message);
            return Err(error.with_hint(format!("Does {} include itself?", file.display())).into());
        }
        let directory = self.including.last().and_then(|includer| includer.parent()).map(PathBuf::from);
        let path = directory.unwrap_or_default().join(file);
        let source = run::read(&path)?;
        self.including.push(path.clone());
        let outcome = self.run_source(&source, &path.display().to_string()).await;
        self.including.pop();
        match outcome {
            Err(Failure::Quit) => Ok(()),
            outcome => outcome,
        }
    }

    fn redirect(&mut self, file: Option<PathBuf>) -> Result<(), Failure> {
        self.streams.redirect(file.as_deref()).map_err(|error| unwritable(&file.unwrap_or_default(), &error).into())
    }

    async fn watch(&mut self, watch: Watch) -> Result<(), Failure> {
        let Some(statement) = self.last_statement.clone() else {
            return Err(Error::new(SqlState::ObjectNotInPrerequisiteState, "there is no statement to watch yet").into());
        };
        let mut interrupt = self.interrupt.clone();
        let mut runs = 0;
        loop {
            match self.statement(&statement).await {
                Err(Failure::Interrupted) => return Ok(()),
                outcome => outcome?,
            }
            runs += 1;
            if watch.times.is_some_and(|times| runs >= times) {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(watch.interval) => {}
                () = interrupt.pressed() => {
                    self.interrupt.forget();
                    return Ok(());
                }
            }
        }
    }

    fn set_expanded(&mut self, choice: Option<Expanded>) -> Result<(), Failure> {
        self.settings.expanded = choice.unwrap_or(match self.settings.expanded {
            Expanded::On => Expanded::Off,
            Expanded::Off | Expanded::Auto => Expanded::On,
        });
        let state = match self.settings.expanded {
            Expanded::On => "on",
            Expanded::Off => "off",
            Expanded::Auto => "automatic",
        };
        self.acknowledge(&format!("Expanded display is {state}."))
    }

    fn set_timing(&mut self, choice: Option<bool>) -> Result<(), Failure> {
        self.settings.timing = choice.unwrap_or(!self.settings.timing);
        self.acknowledge(if self.settings.timing { "Timing is on." } else { "Timing is off." })
    }

    fn set_format(&mut self, choice: Option<Format>) -> Result<(), Failure> {
        self.settings.format = choice.unwrap_or(self.settings.format);
        self.acknowledge(&format!("Output format is {}.", self.settings.format.name()))
    }

    /// Says what a command changed, where that would not get among data or a script's output.
    fn acknowledge(&mut self, text: &str) -> Result<(), Failure> {
        if self.including.is_empty() && self.settings.format.is_for_people() && self.is_interactive {
            self.say(text)?;
        }
        Ok(())
    }

    fn show_variables(&mut self, name: Option<&str>) -> Result<(), Failure> {
        let variables = &self.settings.variables;
        let wanted = variables.iter().filter(|(known, _)| name.is_none_or(|name| name == known));
        let lines: Vec<_> = wanted.map(|(name, value)| format!("{name} = '{value}'")).collect();
        if let Some(name) = name.filter(|_| lines.is_empty()) {
            let error = Error::new(SqlState::UndefinedParameter, format!("there is no variable \"{name}\""));
            let near = did_you_mean(name, variables.iter().map(|(name, _)| name.as_str()));
            return Err(near.map_or(error.clone(), |near| error.with_hint(format!("Did you mean {near}?"))).into());
        }
        Ok(lines.iter().try_for_each(|line| self.say(line))?)
    }

    fn unset(&mut self, name: &str) {
        self.settings.variables.retain(|(known, _)| known != name);
    }

    fn help(&mut self, topic: Option<&str>) -> Result<(), Failure> {
        let lines = match topic {
            None => overview(),
            Some(topic) => topics(topic),
        };
        if lines.is_empty() {
            let topic = topic.unwrap_or_default();
            let names = COMMANDS.iter().map(|entry| entry.name).chain(language::help().map(|entry| entry.name));
            let hint = match did_you_mean(topic, names) {
                Some(near) => format!("Did you mean {near}?"),
                None => "\\? lists what there is.".to_string(),
            };
            return Err(Error::new(SqlState::UndefinedObject, format!("there is no help on {topic}"))
                .with_hint(hint)
                .into());
        }
        Ok(lines.iter().try_for_each(|line| self.say(line))?)
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> Error {
    Error::new(SqlState::UndefinedFile, format!("{} cannot be read: {error}", file.display()))
}

fn unwritable(file: &Path, error: &std::io::Error) -> Error {
    Error::new(SqlState::IoError, format!("{} cannot be written: {error}", file.display()))
}

/// Of a statement that the user did not write so.
fn without_place(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(error) => Failure::Failed(Error { span: None, ..error }),
        other => other,
    }
}

/// Commands, then statements, one line each.
fn overview() -> Vec<String> {
    let commands = COMMANDS.iter().map(|entry| (format!("{} {}", entry.name, entry.arguments), entry.help));
    let mut lines: Vec<_> = commands.map(|(usage, help)| format!("  {usage:<29} {help}")).collect();
    lines.insert(0, "Commands".to_string());
    lines.push("Statements and operators (\\? NAME shows how one is written)".to_string());
    lines.extend(language::help().map(|entry| format!("  {:<12} {}", entry.name, entry.help)));
    lines
}

/// The full help of whatever has that name, or starts with it.
fn topics(topic: &str) -> Vec<String> {
    let topic = topic.trim_end_matches(';').to_uppercase();
    let is_meant = |name: &str| name.to_uppercase() == topic || name.to_uppercase() == format!("\\{topic}");
    let commands = COMMANDS.iter().filter(|entry| is_meant(entry.name));
    let commands = commands.map(|entry| format!("{} {}\n    {}", entry.name, entry.arguments, entry.help));
    let starts = |name: &str| topic.split_whitespace().next() == name.split(' ').next();
    let entries = language::help().filter(|entry| is_meant(entry.name) || starts(entry.name));
    commands.chain(entries.map(|entry| format!("{}\n    {}", entry.syntax, entry.help))).collect()
}

/// The text with `@name` replaced by its value; a name without value stays.
fn substitute(text: &str, variables: &[(String, String)]) -> String {
    let mut parts = text.split('@');
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        match variables.iter().find(|(known, _)| known == name) {
            Some((_, value)) => out.push_str(value),
            None => {
                out.push('@');
                out.push_str(name);
            }
        }
        out.push_str(rest);
    }
    out
}

/// The name under which the catalog knows a table that was typed as `schema.Name` or `"Name"`.
fn stored_name(typed: &str) -> String {
    match typed.strip_suffix('"').and_then(|open| open.rsplit_once('"')) {
        Some((_, quoted)) => quoted.to_string(),
        None => typed.rsplit('.').next().unwrap_or(typed).to_lowercase(),
    }
}

/// `Shard key: carrier`, a line a column of the one row.
fn facts(batches: &[Batch]) -> Vec<String> {
    let Some(batch) = batches.iter().find(|batch| batch.row_count() > 0) else { return Vec::new() };
    let fact = |name: &str, text: &str| {
        let name = name.replace('_', " ");
        let (first, rest) = name.split_at(name.chars().next().map_or(0, char::len_utf8));
        format!("{}{rest}: {text}", first.to_uppercase())
    };
    let told = batch.row(0).filter(|(column, _)| column.name != "table_name");
    told.filter_map(|(column, value)| Some(fact(&column.name, &value::text(column.kind, value?, Dialect::Display))))
        .collect()
}

/// Checks that there are rows and that every value is true; else says what came out.
fn check_all_true(batches: &[Batch]) -> Result<(), String> {
    let rows: usize = batches.iter().map(Batch::row_count).sum();
    if rows == 0 {
        return Err("The query came out with no rows.".to_string());
    }
    let mut surprises = Vec::new();
    for (row, values) in batches.iter().flat_map(Batch::rows).enumerate() {
        for (column, value) in values {
            let is_boolean = column.kind.scalar == Scalar::Boolean && !column.kind.is_array;
            if !(is_boolean && value == Some("t")) {
                let text = value.map(|value| value::text(column.kind, value, Dialect::Display));
                surprises.push((row, format!("{} is {}", column.name, text.as_deref().unwrap_or("NULL"))));
            }
        }
    }
    let place = |row: usize| if rows > 1 { format!(" in row {}", row + 1) } else { String::new() };
    let shown = surprises.iter().take(SURPRISES_SHOWN_MAX).map(|(row, text)| format!("{text}{}", place(*row)));
    let mut shown: Vec<_> = shown.collect();
    if surprises.len() > SURPRISES_SHOWN_MAX {
        shown.push(format!("and {} more", surprises.len() - SURPRISES_SHOWN_MAX));
    }
    if shown.is_empty() { Ok(()) } else { Err(format!("{}.", shown.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_where_they_are_known() {
        let variables = [("n".to_string(), "5".to_string()), ("who".to_string(), "you".to_string())];
        assert_eq!(substitute("@n of @who, me@example @", &variables), "5 of you, me@example @");
    }

    #[test]
    fn names_are_looked_up_as_the_catalog_has_them() {
        assert_eq!(stored_name("Flights"), "flights");
        assert_eq!(stored_name("public.Flights"), "flights");
        assert_eq!(stored_name("public.\"Flights\""), "Flights");
    }

    #[test]
    fn help_has_an_overview_and_topics() {
        assert!(overview().iter().any(|line| line.trim_start().starts_with("\\watch")));
        assert!(topics("query")[0].starts_with("QUERY"));
        assert!(topics("watch")[0].starts_with("\\watch"));
        assert!(topics("nonsense").is_empty());
    }
}
