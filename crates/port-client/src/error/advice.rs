//! What a person can do about an error.

use crate::error::{Error, MissingResource};
use crate::http::MAX_BULK_ENTITIES;

impl Error {
    /// What a person can do about the error: a sentence to append to the error's own text. `None` if it is only possible to wait.
    ///
    /// The sentence names the settings of a program by the environment variables `PORT_CLIENT_ID`, `PORT_CLIENT_SECRET` and
    /// `PORT_BASE_URL`, as Port's own clients do, and `PORT_CA_FILE` for [`ClientOptions::extra_ca`](crate::ClientOptions::extra_ca).
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::NoCredentials => {
                "Set PORT_CLIENT_ID and PORT_CLIENT_SECRET (in Port: the ... menu, Credentials).".to_owned()
            }
            Self::Credentials(_) => {
                "Correct PORT_CLIENT_ID and PORT_CLIENT_SECRET, or the files that contain them.".to_owned()
            }
            Self::WrongCredentials(_) => {
                "Check PORT_CLIENT_ID and PORT_CLIENT_SECRET (in Port: the ... menu, Credentials), and that PORT_BASE_URL is the region of \
                 the organisation: https://api.port.io for the EU, https://api.us.port.io for the US."
                    .to_owned()
            }
            Self::Unauthorized(_) => "Check that PORT_BASE_URL is the region of the organisation, and that no proxy removes the \
                                      Authorization header."
                .to_owned(),
            Self::Forbidden(_) => "Check that the credentials may write entities, and that Port's IP allow list contains the address that \
                                   the requests come from."
                .to_owned(),
            Self::NotFound(response) => not_found(MissingResource::parse(response)),
            Self::Conflict(_) | Self::NotSerializable(_) => {
                "This is a bug: report it, with the trace id if there is one.".to_owned()
            }
            Self::TooLarge(_) | Self::BodyTooLarge { .. } => {
                "Shorten the longest texts of the entity, such as its description.".to_owned()
            }
            Self::TooManyEntities { .. } => format!("Split them into parts of at most {MAX_BULK_ENTITIES}."),
            Self::Refused(_) => {
                "Compare the entity with its blueprint in Port: types, enums, required properties and relations."
                    .to_owned()
            }
            Self::InvalidIdentifier { what, .. } => {
                format!("Use letters, digits and the characters @_.+:\\/=- in the {what}.")
            }
            Self::RateLimited { .. } | Self::ServerError(_) | Self::MissingResult { .. } => return None,
            Self::Transport { host, problem, .. } => return problem.advice(host),
            Self::UnexpectedResponse { host, .. } => format!(
                "Check that PORT_BASE_URL is the address of Port's API (https://api.port.io or https://api.us.port.io, not the address of its \
                 web pages), and that no proxy responds in place of {host}."
            ),
        };
        Some(advice)
    }
}

fn not_found(missing: Option<MissingResource>) -> String {
    match missing {
        Some(missing) => format!("Create {missing} in Port, or correct the name that refers to it."),
        None => "Create the blueprint or the related entity that Port names, or correct the name that refers to it."
            .to_owned(),
    }
}
