//! JSON values in which no object names a field twice. Of two values with one name, one reader takes the first and
//! another the last; `serde_json` refuses that for the fields of a struct, and here for a [`Value`].

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use std::fmt;

struct Once(Value);

/// Reads one, for `#[serde(deserialize_with)]`.
pub(crate) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Ok(Option::<Once>::deserialize(from)?.map(|once| once.0))
}

/// Reads a list of them, for `#[serde(deserialize_with)]`.
pub(crate) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Value>, D::Error> {
    Ok(Vec::<Once>::deserialize(from)?.into_iter().map(|once| once.0).collect())
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Once(value))) = fields.next_entry::<String, Once>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("an object names a field twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_033_a_field_that_is_named_twice_is_refused_wherever_it_stands() {
        let read = |text: &str| list(&mut serde_json::Deserializer::from_str(text));
        for sound in [
            r#"[null, true, 1, -1, 1.5, 18446744073709551615, "a\u00e9", [], {}]"#,
            r#"[{"a": {"a": [{"a": 1}, {"a": 1}]}, "b": {"a": 2}}]"#,
        ] {
            let expected: Vec<Value> = serde_json::from_str(sound).unwrap();
            assert_eq!(read(sound).unwrap(), expected);
        }
        for twice in
            [r#"[{"a": 1, "a": 1}]"#, r#"[[{"b": {"a": 1, "c": 2, "a": 3}}]]"#, r#"[{"a": 1, "\u0061": 2}]"#]
        {
            assert!(read(twice).is_err(), "{twice}");
        }
    }
}
