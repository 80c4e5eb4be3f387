//! Checks one operator of a format: its name, its arguments and the length it is cut to.

use super::FormatError;
use super::certificate::CertificateFact;
use super::operator::{
    AddressOf, AddressPart, GrpcStyle, HeaderPair, Limited, NameChoice, Operator, Plain, Point, Precision, Source,
};
use super::time_format::TimeFormat;

/// `NAME(argument):length`, taken apart.
#[derive(Clone, Copy)]
pub(super) struct Command<'a> {
    text: &'a str,
    /// Where in the format it stands.
    place: usize,
    name: &'a str,
    argument: Option<&'a str>,
    length: Option<usize>,
}

impl<'a> Command<'a> {
    pub fn split(text: &'a str, place: usize) -> Result<Self, FormatError> {
        let mut command = Self { text, place, name: text, argument: None, length: None };
        let tail = match text.split_once('(') {
            Some((name, rest)) => {
                let (argument, tail) = rest.rsplit_once(')').ok_or_else(|| command.bad("`)` is missing"))?;
                (command.name, command.argument) = (name, Some(argument));
                tail
            }
            None => match text.split_once(':') {
                Some((name, _)) => {
                    command.name = name;
                    &text[name.len()..]
                }
                None => "",
            },
        };
        if !tail.is_empty() {
            let digits = tail.strip_prefix(':').ok_or_else(|| command.bad("only `:length` may follow `)`"))?;
            command.length = Some(digits.parse().map_err(|_| command.bad("the length is not a number"))?);
        }
        Ok(command)
    }

    fn bad(&self, problem: impl Into<String>) -> FormatError {
        FormatError::BadArgument { operator: self.text.to_owned(), place: self.place, problem: problem.into() }
    }

    fn unknown(&self) -> FormatError {
        FormatError::UnknownOperator { operator: self.text.to_owned(), place: self.place }
    }

    /// The operator, if there is such a one with such arguments.
    pub fn check(&self) -> Result<Limited, FormatError> {
        Ok(Limited { operator: self.operator()?, max_length: self.length })
    }

    fn operator(&self) -> Result<Operator, FormatError> {
        let argument = self.argument.unwrap_or_default();
        let operator = match self.name {
            "REQ" | "REQUEST_HEADER" => Operator::Request(self.headers()?),
            "RESP" | "RESPONSE_HEADER" => Operator::Response(self.headers()?),
            "TRAILER" | "RESPONSE_TRAILER" => Operator::Trailer(self.headers()?),
            "QUERY_PARAM" if !argument.is_empty() => Operator::QueryParameter(argument.to_owned()),
            "QUERY_PARAM" => return Err(self.bad("the name of a parameter is expected")),
            "ENVIRONMENT" if !argument.is_empty() => Operator::Environment(std::env::var(argument).ok()),
            "ENVIRONMENT" => return Err(self.bad("the name of a variable is expected")),
            "PATH" => self.path(argument)?,
            "FILTER_STATE" if argument.split(':').next() == Some("envoy.filters.http.grpc_stats") => {
                Operator::GrpcMessages { json: !argument.ends_with(":PLAIN") }
            }
            "DYNAMIC_METADATA" => self.metadata(argument)?,
            "METADATA" => match argument.split_once(':') {
                Some(("DYNAMIC", rest)) => self.metadata(rest)?,
                _ => return Err(self.bad("the metadata of requests is kept here: DYNAMIC:NAMESPACE:KEY")),
            },
            "FILTER_STATE" if !argument.is_empty() => Operator::Nothing,
            "COALESCE" => Operator::First(self.coalesce(argument)?),
            _ => return self.unlimited(argument),
        };
        Ok(operator)
    }

    /// Operators whose values are never cut.
    fn unlimited(&self, argument: &str) -> Result<Operator, FormatError> {
        let operator = match self.name {
            "START_TIME" => Operator::StartTime(self.time(TimeFormat::ISO)?),
            "EMIT_TIME" => Operator::EmitTime(self.time(TimeFormat::ISO)?),
            "START_TIME_LOCAL" | "EMIT_TIME_LOCAL" => return Err(self.bad("times are UTC here: leave out `_LOCAL`")),
            "DOWNSTREAM_PEER_CERT_V_START" => Operator::PeerTime { end: false, format: self.time(TimeFormat::DATE)? },
            "DOWNSTREAM_PEER_CERT_V_END" => Operator::PeerTime { end: true, format: self.time(TimeFormat::DATE)? },
            "RESPONSE_CODE_DETAILS" => match argument {
                "" => Operator::CodeDetails { spaces: false },
                "ALLOW_WHITESPACES" => Operator::CodeDetails { spaces: true },
                _ => return Err(self.bad("the argument can be ALLOW_WHITESPACES")),
            },
            "COMMON_DURATION" => self.duration(argument)?,
            "GRPC_STATUS" => Operator::GrpcStatus(match argument {
                "" | "CAMEL_STRING" => GrpcStyle::Camel,
                "SNAKE_STRING" => GrpcStyle::Snake,
                "NUMBER" => GrpcStyle::Number,
                _ => return Err(self.bad("the argument is CAMEL_STRING, SNAKE_STRING or NUMBER")),
            }),
            "REQUESTED_SERVER_NAME" => Operator::ServerName(self.server_name(argument)?),
            "QUERY_PARAMS" => Operator::Query,
            _ => return self.fixed(),
        };
        if self.length.is_some() {
            return Err(self.bad("the operator takes no length"));
        }
        Ok(operator)
    }

    fn fixed(&self) -> Result<Operator, FormatError> {
        let operator = if let Some((of, shown)) = self.address()? {
            Operator::Address { of, shown }
        } else {
            let peer = CertificateFact::parse(self.name).map(Operator::Peer);
            let plain = || Plain::parse(self.name).map(Operator::Plain);
            let operator = peer.or_else(plain).ok_or_else(|| self.unknown())?;
            if self.argument.is_some() {
                return Err(self.bad("the operator takes no argument"));
            }
            operator
        };
        if self.length.is_some() {
            return Err(self.bad("the operator takes no length"));
        }
        Ok(operator)
    }

    fn headers(&self) -> Result<HeaderPair, FormatError> {
        let names = self.argument.filter(|names| !names.is_empty());
        let names = names.ok_or_else(|| self.bad("a header name in parentheses is expected"))?;
        let (first, second) = match names.split_once('?') {
            Some((first, second)) => (first, Some(second)),
            None => (names, None),
        };
        let valid = |name: &str| {
            let bare = name.strip_prefix(':').unwrap_or(name);
            !bare.is_empty() && bare.bytes().all(crate::http::headers::is_token)
        };
        if !valid(first) || !second.is_none_or(valid) {
            return Err(self.bad("a header name, or two with `?` between them, is expected"));
        }
        Ok(HeaderPair { first: first.to_ascii_lowercase(), second: second.map(str::to_ascii_lowercase) })
    }

    fn time(&self, default: &str) -> Result<TimeFormat, FormatError> {
        let text = self.argument.filter(|text| !text.is_empty()).unwrap_or(default);
        TimeFormat::parse(text).map_err(|problem| self.bad(problem))
    }

    fn duration(&self, argument: &str) -> Result<Operator, FormatError> {
        let parts: Vec<_> = argument.split(':').collect();
        let [from, to, precision] = parts.as_slice() else {
            return Err(self.bad("START:END:PRECISION is expected"));
        };
        let point = |name: &str| {
            Point::parse(name).ok_or_else(|| self.bad(format!("`{name}` is not a point in time that is kept here")))
        };
        let precision = match *precision {
            "ms" => Precision::Milliseconds,
            "us" => Precision::Microseconds,
            "ns" => Precision::Nanoseconds,
            _ => return Err(self.bad("the precision is ms, us or ns")),
        };
        Ok(Operator::CommonDuration(point(from)?, point(to)?, precision))
    }

    fn source(&self, text: &str, current: &str) -> Result<Source, FormatError> {
        match text {
            "ORIG" => Ok(Source::Original),
            text if text == current => Ok(Source::Current),
            text if text.strip_prefix("ORIG_OR_") == Some(current) => Ok(Source::OriginalOrCurrent),
            _ => Err(self.bad(format!("the source is ORIG, {current} or ORIG_OR_{current}"))),
        }
    }

    fn metadata(&self, argument: &str) -> Result<Operator, FormatError> {
        let mut parts = argument.split(':').map(str::to_owned);
        let namespace = parts.next().filter(|namespace| !namespace.is_empty());
        let namespace = namespace.ok_or_else(|| self.bad("a namespace is expected"))?;
        Ok(Operator::Metadata { namespace, path: parts.collect() })
    }

    fn path(&self, argument: &str) -> Result<Operator, FormatError> {
        let (query, source) = argument.split_once(':').unwrap_or((argument, "ORIG_OR_PATH"));
        let query = match query {
            "" | "WQ" => true,
            "NQ" => false,
            _ => return Err(self.bad("the query is kept (WQ) or not (NQ)")),
        };
        Ok(Operator::Path { query, source: self.source(source, "PATH")? })
    }

    fn server_name(&self, argument: &str) -> Result<NameChoice, FormatError> {
        let (choice, source) = argument.split_once(':').unwrap_or((argument, "ORIG_OR_HOST"));
        let source = self.source(source, "HOST")?;
        match choice {
            "" | "SNI_ONLY" => Ok(NameChoice::SniOnly),
            "SNI_FIRST" => Ok(NameChoice::SniFirst(source)),
            "HOST_FIRST" => Ok(NameChoice::HostFirst(source)),
            _ => Err(self.bad("the choice is SNI_ONLY, SNI_FIRST or HOST_FIRST")),
        }
    }

    fn address(&self) -> Result<Option<(AddressOf, AddressPart)>, FormatError> {
        let (side, shown) = if let Some(side) = self.name.strip_suffix("_ADDRESS_WITHOUT_PORT") {
            (side, AddressPart::Ip)
        } else if let Some(side) = self.name.strip_suffix("_ADDRESS") {
            (side, AddressPart::Whole)
        } else if let Some(side) = self.name.strip_suffix("_PORT") {
            (side, AddressPart::Port)
        } else {
            return Ok(None);
        };
        let of = match side {
            "UPSTREAM_LOCAL" => AddressOf::UpstreamLocal,
            "UPSTREAM_REMOTE" => AddressOf::UpstreamRemote,
            "DOWNSTREAM_LOCAL" => AddressOf::DownstreamLocal,
            "DOWNSTREAM_DIRECT_LOCAL" => AddressOf::DownstreamDirectLocal,
            "DOWNSTREAM_REMOTE" => AddressOf::DownstreamRemote,
            "DOWNSTREAM_DIRECT_REMOTE" => AddressOf::DownstreamDirectRemote,
            _ => return Ok(None),
        };
        let shown = match (shown, self.argument) {
            (AddressPart::Ip, Some(bits)) if !bits.is_empty() => match bits.parse() {
                Ok(bits @ 0..=128) => AddressPart::Network(bits),
                _ => return Err(self.bad("the length of a prefix is from 0 to 128")),
            },
            (_, Some(argument)) if !argument.is_empty() => return Err(self.bad("the operator takes no argument")),
            (shown, _) => shown,
        };
        Ok(Some((of, shown)))
    }

    /// `{"operators": ["NAME", {"command": "NAME", "param": …, "max_length": …}]}`.
    fn coalesce(&self, argument: &str) -> Result<Vec<Limited>, FormatError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given {
            operators: Vec<One>,
        }
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum One {
            Name(String),
            #[serde(rename_all = "snake_case")]
            Full {
                command: String,
                param: Option<String>,
                max_length: Option<usize>,
            },
        }
        let given: Given = serde_json::from_str(argument).map_err(|error| self.bad(error.to_string()))?;
        if given.operators.is_empty() {
            return Err(self.bad("`operators` is empty"));
        }
        let one = |one: &One| {
            let (name, argument, length) = match one {
                One::Name(name) => (name, None, None),
                One::Full { command, param, max_length } => (command, param.as_deref(), *max_length),
            };
            if name == "COALESCE" {
                return Err(self.bad("COALESCE cannot hold another"));
            }
            Command { text: self.text, place: self.place, name, argument, length }.check()
        };
        given.operators.iter().map(one).collect()
    }
}

impl Point {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "DS_RX_BEG" => Self::DownstreamReceiveBegin,
            "DS_RX_END" => Self::DownstreamReceiveEnd,
            "US_TX_BEG" => Self::UpstreamSendBegin,
            "US_TX_END" => Self::UpstreamSendEnd,
            "US_RX_BEG" => Self::UpstreamReceiveBegin,
            "US_RX_END" => Self::UpstreamReceiveEnd,
            "DS_TX_BEG" => Self::DownstreamSendBegin,
            "DS_TX_END" => Self::DownstreamSendEnd,
            _ => return None,
        })
    }
}
