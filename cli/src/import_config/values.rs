//! Reads the values of settings as the predecessor does, and keeps them within what the resource accepts.

use migration_core::size::ByteSize;

use super::error::ImportError;
use super::found::Found;
use super::settings::{self, Setting};
use super::yaml::Field;

/// One MiB is the unit of the predecessor's sizes.
const GIB: u64 = 1 << 10;

/// The predecessor's `JobType`: which side its own role is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobType {
    /// It runs at the source.
    #[default]
    Put,
    /// It runs at the destination.
    Get,
}

/// Reads settings, and remembers which were taken over.
pub struct Values<'a> {
    found: &'a Found,
    taken: Vec<&'static str>,
}

/// A setting that is given, with its value and the comment that names it.
struct Taken {
    setting: &'static Setting,
    value: String,
    comment: String,
}

impl<'a> Values<'a> {
    /// Creates a reader of the settings.
    pub fn new(found: &'a Found) -> Self {
        Self { found, taken: Vec::new() }
    }

    /// Returns the names of the settings that were taken over.
    pub fn taken(&self) -> &[&'static str] {
        &self.taken
    }

    /// Returns the job type, and the comment about it.
    pub fn job_type(&mut self) -> Result<(JobType, String), ImportError> {
        let Some(given) = self.take("JobType") else {
            return Ok((JobType::Put, "JobType is not given: PUT, which is the predecessor's default".to_owned()));
        };
        match given.value.trim().to_ascii_uppercase().as_str() {
            "PUT" => Ok((JobType::Put, given.comment)),
            "GET" => Ok((JobType::Get, given.comment)),
            _ => Err(self.wrong(&given, "PUT or GET")),
        }
    }

    /// Returns a field with a number, kept from `least` to `most`.
    pub fn number(
        &mut self,
        name: &'static str,
        field: &'static str,
        (least, most): (u64, u64),
    ) -> Result<Option<Field>, ImportError> {
        let Some(given) = self.take(name) else { return Ok(None) };
        let number = self.whole(&given)?;
        let kept = number.clamp(least, most);
        let field = Field::new(field, super::yaml::Node::Number(kept));
        Ok(Some(noting(field, given, kept != number, kept)))
    }

    /// Returns the MiB of a size, kept from `least` to 5 GiB, and a field with it.
    pub fn size(
        &mut self,
        name: &'static str,
        field: &'static str,
        least: u64,
    ) -> Result<Option<(u64, Field)>, ImportError> {
        let Some(given) = self.take(name) else { return Ok(None) };
        let number = self.whole(&given)?;
        let kept = number.clamp(least, 5 * GIB);
        let text = ByteSize::mib(kept).to_string();
        let field = Field::text(field, text.clone());
        Ok(Some((kept, noting(field, given, kept != number, text))))
    }

    /// Returns a field with a switch. The predecessor takes the words of Python's `getboolean`.
    pub fn switch(&mut self, name: &'static str, field: &'static str) -> Result<Option<Field>, ImportError> {
        let Some(given) = self.take(name) else { return Ok(None) };
        let value = match given.value.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => true,
            "false" | "no" | "off" | "0" => false,
            _ => return Err(self.wrong(&given, "True or False")),
        };
        let field = Field::new(field, super::yaml::Node::Bool(value));
        // What is off has no meaning that could have changed.
        Ok(Some(if value { field.saying(given.comment) } else { field.saying(self.plain(&given)) }))
    }

    /// Returns a field with one of some words, in upper case. Fails for any other word.
    pub fn word(
        &mut self,
        name: &'static str,
        field: &'static str,
        (accepted, expected): (impl Fn(&str) -> bool, &'static str),
    ) -> Result<Option<Field>, ImportError> {
        let Some(given) = self.take(name) else { return Ok(None) };
        let word = given.value.trim();
        if !accepted(word) {
            return Err(self.wrong(&given, expected));
        }
        Ok(Some(Field::text(field, word).saying(given.comment)))
    }

    /// Returns the level of logs, with a comment.
    pub fn log_level(&mut self) -> Result<Option<Field>, ImportError> {
        let Some(given) = self.take("LoggingLevel") else { return Ok(None) };
        let level = match given.value.trim() {
            "WARNING" => "Warn",
            "INFO" => "Info",
            "DEBUG" => "Debug",
            _ => return Err(self.wrong(&given, "WARNING, INFO or DEBUG")),
        };
        Ok(Some(Field::text("level", level).saying(given.comment)))
    }

    /// Returns the region that a setting names, by itself or in an ARN, and the comment about it.
    pub fn region(&mut self) -> Option<(String, String)> {
        let given = self.take("AWS_REGION").or_else(|| self.take("FunctionArn"))?;
        let region = region_of(&given.value);
        Some((region.to_owned(), given.comment)).filter(|_| !region.is_empty())
    }

    fn take(&mut self, name: &'static str) -> Option<Taken> {
        let given = self.found.setting(name)?;
        let setting = settings::find(name)?;
        self.taken.push(setting.name);
        let comment = format!("{} = {}", setting.name, self.found.shown(given));
        let comment = if setting.note.is_empty() { comment } else { format!("{comment}: {}", setting.note) };
        Some(Taken { setting, value: given.value.clone(), comment })
    }

    fn plain(&self, given: &Taken) -> String {
        format!("{} = {}", given.setting.name, self.shown(given))
    }

    fn whole(&self, given: &Taken) -> Result<u64, ImportError> {
        given.value.trim().parse().map_err(|_| self.wrong(given, "a whole number"))
    }

    fn wrong(&self, given: &Taken, expected: &'static str) -> ImportError {
        ImportError::Setting { name: given.setting.name, value: self.shown(given), expected }
    }

    fn shown(&self, given: &Taken) -> String {
        self.found.setting(given.setting.name).map(|given| self.found.shown(given)).unwrap_or_default()
    }
}

/// Returns the region in an ARN, or the text itself if it is none.
fn region_of(text: &str) -> &str {
    // arn:partition:lambda:region:account:function:name
    if text.starts_with("arn:") { text.split(':').nth(3).unwrap_or_default() } else { text }
}

/// Adds the comment, and another one if the value had to be changed.
fn noting(field: Field, given: Taken, is_changed: bool, kept: impl std::fmt::Display) -> Field {
    let field = field.saying(given.comment);
    if is_changed { field.saying(format!("{kept} is the nearest value that is accepted")) } else { field }
}
