//! Google Chat: a card with one section for the message and one for each field.

use serde_json::{Value, json};
use serin_core::model::{ChatKind, Severity};

use super::{Message, Notifier, Voice};

pub(super) struct GoogleChat;

impl Notifier for GoogleChat {
    fn kind(&self) -> ChatKind {
        ChatKind::GoogleChat
    }

    fn url(&self, address: &str) -> String {
        address.to_owned()
    }

    /// The webhook knows its room and its name.
    fn payload(&self, message: &Message, _voice: Voice<'_>) -> Value {
        let color = match message.severity {
            Severity::Info | Severity::Warn => "#0076D7",
            Severity::Error => "#FF0000",
        };
        let text = format!("<font color=\"{color}\">{}</font>", escaped(&message.text));
        let mut sections = vec![section(&text)];
        for (name, value) in &message.fields {
            sections.push(section(&format!("<b>{}</b>: {}", escaped(name), escaped(value))));
        }
        json!({
            "cards": [{
                "header": {"title": "Serin", "subtitle": message.subject},
                "sections": sections,
            }],
        })
    }
}

fn section(text: &str) -> Value {
    json!({"widgets": [{"textParagraph": {"text": text}}]})
}

/// Texts carry words of webhooks, which are not to become markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
