//! The methods that are known (the IANA registry of HTTP methods, and those of WebDAV's and UPnP's neighbourhood that
//! Envoy takes). Another one is refused unless it is asked for: whatever stands behind the proxy may read it as it likes.

const KNOWN: [&str; 34] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "PATCH",
    "CONNECT",
    "TRACE",
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "M-SEARCH",
    "NOTIFY",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Whether a method is one of them; case counts (RFC 9110 section 9.1).
pub fn is_known(method: &str) -> bool {
    KNOWN.contains(&method)
}
