//! Records as values, and rows as records.

use std::fmt::Display;
use std::str::FromStr;

use boxherd_model::{Timestamp, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::database::{Row, Value};

pub(crate) fn text(value: impl Display) -> Value {
    Value::Text(value.to_string())
}

pub(crate) fn time(value: Timestamp) -> Value {
    Value::Integer(value.millis())
}

pub(crate) fn json(value: &impl Serialize) -> Value {
    let text = serde_json::to_string(value);
    Value::Text(text.expect("records have no keys but texts and no numbers but finite"))
}

pub(crate) fn optional<T>(value: Option<T>, to: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, to)
}

/// The value of a column that is part of a key, where databases take no `NULL` for the same as
/// another: none is the empty text, which is no id and no name.
pub(crate) fn or_empty(value: Option<impl Display>) -> Value {
    value.map_or_else(|| Value::Text(String::new()), text)
}

/// Reads a row column by column, in the order in which the columns were selected. The names are for
/// errors only.
pub(crate) struct Columns(std::vec::IntoIter<Value>);

impl From<Row> for Columns {
    fn from(row: Row) -> Self {
        Self(row.0.into_iter())
    }
}

impl Columns {
    pub(crate) fn optional_text(
        &mut self,
        column: &'static str,
    ) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            other => Err(not(column, "text", other.as_ref())),
        }
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<String, StoreError> {
        self.optional_text(column)?.ok_or_else(|| not(column, "text", Some(&Value::Null)))
    }

    pub(crate) fn optional_integer(
        &mut self,
        column: &'static str,
    ) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Value::Integer(number)) => Ok(Some(number)),
            Some(Value::Null) => Ok(None),
            other => Err(not(column, "integer", other.as_ref())),
        }
    }

    pub(crate) fn integer(&mut self, column: &'static str) -> Result<i64, StoreError> {
        self.optional_integer(column)?.ok_or_else(|| not(column, "integer", Some(&Value::Null)))
    }

    pub(crate) fn parsed<T: FromStr>(&mut self, column: &'static str) -> Result<T, StoreError>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.text(column)?.parse().map_err(|source| corrupt(column, source))
    }

    pub(crate) fn optional_parsed<T: FromStr>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.optional_text(column)?;
        text.map(|text| text.parse()).transpose().map_err(|source| corrupt(column, source))
    }

    /// The other way of [`or_empty`].
    pub(crate) fn parsed_or_empty<T: FromStr>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = Some(self.text(column)?).filter(|text| !text.is_empty());
        text.map(|text| text.parse()).transpose().map_err(|source| corrupt(column, source))
    }

    pub(crate) fn owner(&mut self) -> Result<Option<UserId>, StoreError> {
        self.parsed_or_empty("owner")
    }

    pub(crate) fn json<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(column)?).map_err(|source| corrupt(column, source))
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text = self.optional_text(column)?;
        let parse = |text: String| serde_json::from_str(&text);
        text.map(parse).transpose().map_err(|source| corrupt(column, source))
    }

    pub(crate) fn time(&mut self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.integer(column).map(Timestamp::from_millis)
    }

    pub(crate) fn optional_time(
        &mut self,
        column: &'static str,
    ) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional_integer(column)?.map(Timestamp::from_millis))
    }
}

fn not(column: &'static str, kind: &str, found: Option<&Value>) -> StoreError {
    let found = match found {
        None => "there is no such column",
        Some(Value::Null) => "it is empty",
        Some(Value::Integer(_)) => "it is an integer",
        Some(Value::Text(_)) => "it is a text",
    };
    corrupt(column, std::io::Error::other(format!("should be a {kind}, but {found}")))
}

pub(crate) fn corrupt(
    column: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Corrupt { what: format!("column `{column}`"), source: Box::new(source) }
}
