//! Why a token is refused, with the text that a client is told and the number that logs get.

macro_rules! statuses {
    ($($name:ident $code:literal $text:literal;)*) => {
        /// Envoy's `JwtVerify::Status`; `CriticalHeader` is not of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Status {
            $(#[error($text)] $name,)*
        }

        impl Status {
            /// Its place in Envoy's list (`failed_status_in_metadata`, `code`).
            pub fn code(self) -> u32 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// The text of the answer.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

statuses! {
    Missing 1 "Jwt is missing";
    NotYetValid 2 "Jwt not yet valid";
    Expired 3 "Jwt is expired";
    BadFormat 4 "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    HeaderBase64 5 "Jwt header is an invalid Base64url encoded";
    HeaderJson 6 "Jwt header is an invalid JSON";
    NoAlgorithm 7 "Jwt header [alg] field is required and must be a string";
    UnknownAlgorithm 8 "Jwt header [alg] is not supported";
    CriticalHeader 8 "Jwt header [crit] is not supported";
    KeyIdNotText 9 "Jwt header [kid] field is not a string";
    PayloadBase64 10 "Jwt payload is an invalid Base64url encoded";
    PayloadJson 11 "Jwt payload is an invalid JSON";
    IssuerNotText 12 "Jwt payload [iss] field is not a string";
    SubjectNotText 13 "Jwt payload [sub] field is not a string";
    IssuedAtNotNumber 14 "Jwt payload [iat] field is not an integer";
    IssuedAtRange 15 "Jwt payload [iat] field is not a positive 64 bit integer";
    NotBeforeNotNumber 16 "Jwt payload [nbf] field is not an integer";
    NotBeforeRange 17 "Jwt payload [nbf] field is not a positive 64 bit integer";
    ExpiryNotNumber 18 "Jwt payload [exp] field is not an integer";
    ExpiryRange 19 "Jwt payload [exp] field is not a positive 64 bit integer";
    IdNotText 20 "Jwt payload [jti] field is not a string";
    AudienceNotText 21 "Jwt payload [aud] field is not a string or string list";
    SignatureBase64 22 "Jwt signature is an invalid Base64url encoded";
    Ed25519SignatureLength 23 "Jwt ED25519 signature is wrong length";
    UnknownIssuer 24 "Jwt issuer is not configured";
    AudienceNotAllowed 25 "Audiences in Jwt are not allowed";
    VerificationFailed 26 "Jwt verification fails";
    NoValidKeys 31 "Jwks doesn't have any valid public key";
    NoMatchingKey 32 "Jwks doesn't have key to match kid or alg from Jwt";
    FetchFailed 40 "Jwks remote fetch is failed";
}
