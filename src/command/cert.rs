//! `weft cert`: what a certificate says, who issued it, and whether its chain holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use citadel::CertificateDescription;
use clap::Args;
use serde_json::{Value, json};

use super::api::{ApiOptions, Client, encode};
use super::data_dir::DataDir;
use super::duration;
use super::failure::{Exit, Failure};
use super::join::STATE_DIR;
use super::output::{Format, OutputOptions, line, print_value, text};

#[derive(Debug, Args)]
pub struct Options {
    /// A PEM file, a directory with cert-chain.pem, or a proxy such as reviews-v1.default [default: this machine's agent]
    #[arg(value_name = "FILE|PROXY")]
    of: Option<String>,
    /// The roots to hold a file's chain against [default: root-cert.pem beside it]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    api: ApiOptions,
}

pub const HELP: &str = "\
Of a proxy of this machine its own files are read; of any other, what the control plane issued to its identity.

Example: weft cert productpage-v1.default
         weft cert productpage-v1.default -o json";

const CHAIN: &str = "cert-chain.pem";
const ROOTS: &str = "root-cert.pem";

pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    let shown = match file(options.of.as_deref(), &data)? {
        Some(file) => of_file(&file, options.bundle.as_deref())?,
        None => of_proxy(options.of.as_deref().unwrap_or_default(), &Client::open(&data, &options.api)?).await?,
    };
    match options.output.output {
        Format::Table => line(words(&shown, SystemTime::now())),
        format => print_value(format, &shown),
    }
}

/// Where the chain is, if it is on this machine.
fn file(of: Option<&str>, data: &DataDir) -> anyhow::Result<Option<PathBuf>> {
    let Some(of) = of else {
        let agent = Path::new(STATE_DIR).join(CHAIN);
        let told = "this machine has not joined a mesh; name a file or a proxy, such as weft cert reviews-v1.default";
        anyhow::ensure!(agent.is_file(), Failure::new(Exit::NotFound, told));
        return Ok(Some(agent));
    };
    let (name, namespace) = of.split_once('.').unwrap_or((of, "default"));
    let mut places = vec![PathBuf::from(of), Path::new(of).join(CHAIN)];
    if !of.contains('/') {
        places.push(data.workload(namespace, name).join(CHAIN));
    }
    let found = places.into_iter().find(|place| place.is_file());
    // What looks like a file is none of the control plane's.
    anyhow::ensure!(
        found.is_some() || !of.contains('/'),
        Failure::new(Exit::NotFound, format!("there is no file {of}"))
    );
    Ok(found)
}

fn of_file(file: &Path, bundle: Option<&Path>) -> anyhow::Result<Value> {
    let read = |path: &Path| {
        let pem = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let refused = |rule: String| Failure::new(Exit::Rejected, format!("{}: {rule}", path.display()));
        citadel::certificates(&pem).map_err(|rule| anyhow::Error::from(refused(rule)))
    };
    let chain = read(file)?;
    let beside = file.with_file_name(ROOTS);
    let roots = match bundle {
        Some(bundle) => read(bundle)?,
        None if beside.is_file() && beside != file => read(&beside)?,
        None => Vec::new(),
    };
    let tell = |all: &[_]| -> anyhow::Result<Vec<Value>> {
        let one = |der| {
            let told = citadel::describe(der);
            told.map(|told| view(&told)).map_err(|rule| {
                anyhow::Error::from(Failure::new(Exit::Rejected, format!("{}: {rule}", file.display())))
            })
        };
        all.iter().map(one).collect()
    };
    let holds = match roots.is_empty() {
        true => Err("there is no bundle to hold it against; give --bundle".to_owned()),
        false => citadel::judge(&chain, &roots, SystemTime::now()),
    };
    Ok(json!({
        "source": file.display().to_string(),
        "chain": tell(&chain)?,
        "bundle": tell(&roots)?,
        "holds": holds.is_ok(),
        "reason": holds.err(),
    }))
}

/// What the control plane issued to a proxy's identity: it has the record of each certificate, and not the certificate.
async fn of_proxy(name: &str, client: &Client) -> anyhow::Result<Value> {
    let proxy = client.get(&format!("proxies/{}", encode(name))).await?;
    let identity = text(&proxy, "identity");
    let listing = client.list(&format!("ca/certificates?q={}", encode(&identity))).await?;
    let issued = listing["items"].as_array().into_iter().flatten();
    let own: Vec<&Value> = issued.filter(|item| text(item, "identity") == identity).collect();
    let authority = client.get("ca").await?;
    Ok(json!({ "source": client.base(), "identity": identity, "issued": own, "bundle": authority["roots"] }))
}

fn view(told: &CertificateDescription) -> Value {
    json!({
        "subject": told.subject,
        "names": told.names,
        "issuer": told.issuer,
        "serial": told.serial,
        "fingerprint": told.fingerprint,
        "key": told.key,
        "authority": told.is_authority,
        "not_before": told.not_before,
        "not_after": told.not_after,
    })
}

fn words(shown: &Value, now: SystemTime) -> String {
    let mut out = format!("from         {}\n", text(shown, "source"));
    if shown["identity"].is_string() {
        out += &format!("identity     {}\n", text(shown, "identity"));
    }
    match shown["holds"].as_bool() {
        Some(true) => out += "chain        holds: it leads to a root of the bundle\n",
        Some(false) => out += &format!("chain        not proved: {}\n", text(shown, "reason")),
        None => {}
    }
    for part in ["chain", "issued", "bundle"] {
        for (place, one) in shown[part].as_array().into_iter().flatten().enumerate() {
            out += &format!("\n{}\n{}", title(part, place, one), lines(one, now));
        }
    }
    out.trim_end().to_owned()
}

fn title(part: &str, place: usize, one: &Value) -> &'static str {
    match (part, place) {
        ("bundle", _) => "root of the bundle",
        ("issued", _) => "issued certificate",
        (_, 0) if one["authority"] != true => "leaf",
        _ => "authority",
    }
}

fn lines(one: &Value, now: SystemTime) -> String {
    let names: Vec<&str> = one["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let words = [
        ("names", names.join(", ")),
        ("subject", text(one, "subject")),
        ("serial", text(one, "serial")),
        ("issued by", text(one, "issuer")),
        ("issued for", text(one, "attested_by")),
        ("below root", text(one, "root")),
        ("key", text(one, "key")),
        ("begins", date(one.get("not_before").or_else(|| one.get("issued")))),
        ("ends", format!("{} ({})", date(one.get("not_after")), left(one, now))),
        ("SHA-256", text(one, "fingerprint")),
    ];
    let filled = words.into_iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| format!("  {name:<10} {value}\n")).collect()
}

fn date(seconds: Option<&Value>) -> String {
    let at = seconds.and_then(Value::as_u64).map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    at.map(httpdate::fmt_http_date).unwrap_or_default()
}

fn left(one: &Value, now: SystemTime) -> String {
    let end = UNIX_EPOCH + Duration::from_secs(one["not_after"].as_u64().unwrap_or_default());
    end.duration_since(now).map_or_else(|_| "it has ended".into(), |left| format!("in {}", duration::rough(left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_with_its_end_and_what_is_unknown_is_left_out() {
        let one =
            json!({ "subject": "CN=a", "serial": "0a", "not_before": 0, "not_after": 7200, "names": ["spiffe://a/b"] });
        let shown = json!({ "source": "a.pem", "chain": [one], "holds": false, "reason": "expired" });
        let told = words(&shown, UNIX_EPOCH + Duration::from_secs(60));
        for expected in ["chain        not proved: expired", "leaf", "names      spiffe://a/b", "(in 119m)"] {
            assert!(told.contains(expected), "{told}");
        }
        assert!(!told.contains("issued by"), "{told}");
        assert!(words(&shown, UNIX_EPOCH + Duration::from_secs(7201)).contains("it has ended"));
    }
}
