//! The HTML of the product page. Every value that came from outside is escaped.

use super::fetch::{Fetched, Missing};
use super::{PRODUCT, Product};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

const PARTLY: Missing = Missing {
    status: axum::http::StatusCode::BAD_GATEWAY,
    message: "The answer of the service could not be understood.",
};

#[derive(Deserialize)]
struct Reviews {
    #[serde(default)]
    podname: String,
    #[serde(default)]
    clustername: String,
    reviews: Vec<Review>,
}

#[derive(Deserialize)]
struct Review {
    reviewer: String,
    text: String,
    rating: Option<Rating>,
}

#[derive(Deserialize)]
struct Rating {
    #[serde(default)]
    stars: usize,
    #[serde(default)]
    color: String,
    error: Option<String>,
}

/// The front door: what this is, and where the page is.
pub fn index() -> String {
    let body = format!(
        "<h1>Bookinfo</h1><p class=summary>A bookshop with one book, made of four services. Open the \
         <a href=\"/productpage\">product page of “{}”</a>, or read the same as \
         <a href=\"/api/v1/products\">JSON</a>.</p>",
        PRODUCT.title
    );
    document("", &body)
}

/// The product page, with a notice in place of each part that is missing.
pub fn product(product: &Product, user: Option<&str>, details: &Fetched, reviews: &Fetched) -> String {
    let body = format!(
        "<h1>{}</h1><p class=summary>{}</p><div class=columns>\
         <section aria-label=\"Book details\">{}</section><section aria-label=\"Book reviews\">{}</section></div>",
        product.title,
        product.description,
        details_block(details),
        reviews_block(reviews),
    );
    document(&sign_in(user), &body)
}

fn document(aside: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<title>Simple Bookstore App</title>\n\
         <link rel=icon href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><a class=brand href=\"/productpage\">Bookinfo</a>{aside}</header>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
}

fn sign_in(user: Option<&str>) -> String {
    match user {
        Some(user) => format!(
            "<form method=post action=\"/logout\"><span>Signed in as <strong>{}</strong></span>\
             <button>Sign out</button></form>",
            escape(user)
        ),
        None => "<form method=post action=\"/login\"><label for=username>User name</label>\
                 <input id=username name=username maxlength=64 autocomplete=username required>\
                 <button>Sign in</button></form>"
            .to_owned(),
    }
}

fn details_block(details: &Fetched) -> String {
    let fields = match details {
        Ok(body) => serde_json::from_slice::<Value>(body).map_err(|_| PARTLY),
        Err(missing) => Err(*missing),
    };
    match fields {
        Ok(fields) => format!("<h2>Book details</h2>{}", details_list(&fields)),
        Err(missing) => notice("Error fetching product details!", &missing),
    }
}

fn details_list(fields: &Value) -> String {
    let labels = [
        ("type", "Type"),
        ("pages", "Pages"),
        ("publisher", "Publisher"),
        ("language", "Language"),
        ("author", "Author"),
        ("year", "Year"),
        ("ISBN-10", "ISBN-10"),
        ("ISBN-13", "ISBN-13"),
    ];
    let mut list = String::from("<dl>");
    for (key, label) in labels {
        let value = match &fields[key] {
            Value::Null => continue,
            Value::String(text) => escape(text),
            other => escape(&other.to_string()),
        };
        let _ = write!(list, "<dt>{label}</dt><dd>{value}</dd>");
    }
    list + "</dl>"
}

fn reviews_block(reviews: &Fetched) -> String {
    let reviews = match reviews {
        Ok(body) => serde_json::from_slice::<Reviews>(body).map_err(|_| PARTLY),
        Err(missing) => Err(*missing),
    };
    match reviews {
        Ok(reviews) => format!(
            "<h2>Book reviews</h2>{}<p class=\"note served\">Reviews served by <code>{}</code> in cluster \
             <code>{}</code></p>",
            reviews.reviews.iter().map(review).collect::<String>(),
            escape(&reviews.podname),
            escape(&reviews.clustername),
        ),
        Err(missing) => notice("Error fetching product reviews!", &missing),
    }
}

fn review(review: &Review) -> String {
    format!(
        "<blockquote><p>{}</p><footer>{}{}</footer></blockquote>",
        escape(&review.text),
        escape(&review.reviewer),
        review.rating.as_ref().map(rating).unwrap_or_default()
    )
}

fn rating(rating: &Rating) -> String {
    if let Some(error) = &rating.error {
        return format!("<p class=error>{}</p>", escape(error));
    }
    let full = rating.stars.min(5);
    let color = escape(&rating.color);
    format!(
        "<span class=\"stars {color}\" role=img aria-label=\"{full} of 5 stars, {color}\">{}{}</span>",
        "★".repeat(full),
        "☆".repeat(5 - full)
    )
}

fn notice(title: &str, missing: &Missing) -> String {
    format!("<div class=error role=alert><h2>{title}</h2><p>{}</p></div>", missing.message)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Fetched = Err(PARTLY);

    #[test]
    fn names_and_texts_from_outside_cannot_add_markup() {
        let reviews = Ok(br#"{"podname":"<i>","reviews":[{"reviewer":"<script>","text":"a & b","rating":
            {"stars":9,"color":"\"><script>"}}]}"#[..]
            .into());
        let page = product(&PRODUCT, Some("<script>x"), &NOTHING, &reviews);
        assert!(!page.contains("<script>") && !page.contains("<i>"), "{page}");
        assert!(page.contains("a &amp; b") && page.contains("★★★★★</span>"), "{page}");
    }

    #[test]
    fn a_reviews_answer_of_another_shape_is_a_notice() {
        let page = product(&PRODUCT, None, &NOTHING, &Ok(b"[]"[..].into()));
        assert!(page.contains("Error fetching product reviews!"), "{page}");
    }
}
