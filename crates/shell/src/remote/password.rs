//! A password that neither the URL nor the environment says: from `~/.pgpass`, or from whoever sits at the terminal.

use std::borrow::Cow;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::config::{Behavior, Configurer};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{ColorMode, Config, Editor, Helper};

use super::address::{Address, Password};

/// The password that `~/.pgpass`, or the file of PGPASSFILE, has for this user there. A file that others may read is not
/// looked at, as psql does.
pub fn kept(address: &Address) -> Option<Password> {
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let path = named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass")))?;
    let private = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o077 == 0);
    let text = fs::read_to_string(&path).ok().filter(|_| private)?;
    find(&text, address).map(|text| Password { text, origin: "~/.pgpass" })
}

/// The last field of the first line whose others fit: `host:port:database:user:password`, where `*` fits everything.
fn find(text: &str, address: &Address) -> Option<String> {
    let port = address.port.to_string();
    let database = address.database.as_deref().unwrap_or(&address.user);
    let wanted = [address.host.as_str(), &port, database, &address.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let fits = fields.len() == 5 && wanted.iter().zip(&fields).all(|(want, field)| field == "*" || field == want);
        fits.then(|| fields[4].clone())
    })
}

/// What stands between colons; a backslash stands before a colon or backslash that is part of a field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(letters.next()),
            (letter, Some(field)) => field.push(letter),
            (_, None) => {}
        }
    }
    fields
}

/// Asks whoever sits at the terminal; `None` where nobody does, or wants to say.
pub async fn asked(address: &Address) -> Option<Password> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let prompt = format!("Password of {} at {address}: ", address.user);
    let read = tokio::task::spawn_blocking(move || read(&prompt)).await;
    let text = read.ok()?.ok()?;
    Some(Password { text, origin: "the terminal" })
}

/// Reads a line that does not appear.
fn read(prompt: &str) -> rustyline::Result<String> {
    let config = Config::builder().behavior(Behavior::PreferTerm).color_mode(ColorMode::Forced).build();
    let mut editor: Editor<Hidden, _> = Editor::with_config(config)?;
    editor.set_auto_add_history(false);
    editor.set_helper(Some(Hidden));
    let _invisible = editor.set_cursor_visibility(false)?;
    editor.readline(prompt)
}

/// Shows blanks for what is typed.
struct Hidden;

impl Helper for Hidden {}

impl Validator for Hidden {}

impl Hinter for Hidden {
    type Hint = String;
}

impl Completer for Hidden {
    type Candidate = String;
}

impl Highlighter for Hidden {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned(" ".repeat(unicode_width::UnicodeWidthStr::width(line)))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let text = "# a comment\nfar:5433:*:ada:wrong\n*:5433:d:ada:a\\:b\\\\c\nnear:*:*:*:any\nshort:line\n";
        let password = |url: &str| find(text, &Address::parse(url, |_| None).expect("a URL"));
        assert_eq!(password("postgres://ada@near/d").as_deref(), Some("a:b\\c"));
        assert_eq!(password("postgres://ada@near/e").as_deref(), Some("any"));
        assert_eq!(password("postgres://ada@far/e").as_deref(), Some("wrong"));
        assert_eq!(password("postgres://eve@far/e"), None);
    }
}
