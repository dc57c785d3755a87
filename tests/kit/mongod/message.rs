//! Commands to mongod, and its answers, without a driver (`OP_MSG`).

use std::io::{Read, Write};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// What commands go over.
pub trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// One command, and what the server answers. It is the database `admin` that is asked, unless the command names another.
pub fn ask(stream: &mut dyn Stream, mut command: Value) -> Result<Value> {
    if command["$db"].is_null() {
        command["$db"] = json!("admin");
    }
    // OP_MSG: no flags, one section with a document.
    let body = [&[0; 5][..], &bson(command.as_object().context("a command is an object")?)].concat();
    let mut message = Vec::new();
    for number in [16 + body.len() as u32, 1, 0, 2013] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.extend_from_slice(&body);
    stream.write_all(&message)?;
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    ensure!((21..1 << 24).contains(&length), "an answer of {length} bytes");
    let mut answer = vec![0; length - 16];
    stream.read_exact(&mut answer)?;
    let answer = Value::from(Reader { rest: &answer[5..] }.document()?);
    ensure!(answer["ok"].as_f64() == Some(1.0), "{command}: {answer}");
    Ok(answer)
}

/// A document in BSON: the types that commands have.
fn bson(object: &Map<String, Value>) -> Vec<u8> {
    let mut fields = Vec::new();
    // The command's name must come first.
    let (name, rest): (Vec<_>, Vec<_>) = object.iter().partition(|(name, _)| *name != "$db");
    for (name, value) in name.into_iter().chain(rest) {
        let (code, bytes) = element(value);
        fields.push(code);
        fields.extend_from_slice(name.as_bytes());
        fields.push(0);
        fields.extend_from_slice(&bytes);
    }
    [&(fields.len() as u32 + 5).to_le_bytes()[..], &fields, &[0]].concat()
}

fn element(value: &Value) -> (u8, Vec<u8>) {
    match value {
        Value::Null => (10, Vec::new()),
        Value::Bool(truth) => (8, vec![u8::from(*truth)]),
        Value::String(text) => (2, [&(text.len() as u32 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()),
        Value::Object(object) => (3, bson(object)),
        Value::Array(values) => {
            let numbered = values.iter().enumerate().map(|(number, value)| (number.to_string(), value.clone()));
            (4, bson(&numbered.collect()))
        }
        Value::Number(number) => match number.as_i64() {
            Some(whole) => (18, whole.to_le_bytes().to_vec()),
            None => (1, number.as_f64().unwrap_or_default().to_le_bytes().to_vec()),
        },
    }
}

/// Reads BSON: numbers, text, truth values, documents; of the rest only that it is there.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).context("an answer that ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.take(4)?.try_into()?))
    }

    fn name(&mut self) -> Result<String> {
        let end = self.rest.iter().position(|byte| *byte == 0).context("a name without an end")?;
        let name = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(name)
    }

    fn document(&mut self) -> Result<Map<String, Value>> {
        self.number()?;
        let mut fields = Map::new();
        loop {
            let code = self.take(1)?[0];
            if code == 0 {
                return Ok(fields);
            }
            let name = self.name()?;
            fields.insert(name, self.value(code)?);
        }
    }

    fn value(&mut self, code: u8) -> Result<Value> {
        Ok(match code {
            1 => json!(f64::from_le_bytes(self.take(8)?.try_into()?)),
            2 => {
                let length = usize::try_from(self.number()?)?;
                let text = self.take(length)?;
                json!(String::from_utf8_lossy(&text[..length - 1]))
            }
            3 => Value::from(self.document()?),
            4 => Value::Array(self.document()?.into_iter().map(|(_, value)| value).collect()),
            5 => {
                let length = usize::try_from(self.number()?)?;
                self.take(length + 1)?;
                Value::Null
            }
            7 => {
                self.take(12)?;
                Value::Null
            }
            8 => json!(self.take(1)?[0] == 1),
            10 => Value::Null,
            16 => json!(self.number()?),
            9 | 17 | 18 => json!(i64::from_le_bytes(self.take(8)?.try_into()?)),
            other => bail!("a field of the type {other}"),
        })
    }
}
