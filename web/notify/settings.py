"""Where alerts go: `HEADRACE_NOTIFY_*` variables alone, since most of them are secrets."""

from __future__ import annotations

from email.headerregistry import Address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SCHEMES = {"http", "https"}


class NotifyError(Exception):
    """A target that cannot be; the message names the variable and never its value."""


class Notify(BaseSettings):
    """The targets; what is empty is none."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_NOTIFY_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    webhook_url: SecretStr = SecretStr("")
    webhook_secret: SecretStr = Field(
        default=SecretStr(""), description="Key of the signature; without one nothing is signed."
    )
    slack_url: SecretStr = SecretStr("")
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    mail_from: str = ""
    mail_to: str = Field(default="", description="Addresses, separated by commas.")
    console_url: str = Field(default="", description="Address of the console, for links in it.")

    @property
    def any(self) -> bool:
        """Whether there is a target."""
        return bool(
            self.webhook_url.get_secret_value()
            or self.slack_url.get_secret_value()
            or self.smtp_host
        )

    @property
    def recipients(self) -> list[str]:
        """To whom mail goes."""
        return [one.strip() for one in self.mail_to.split(",") if one.strip()]

    @field_validator("webhook_url", "slack_url")
    @classmethod
    def _is_url(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (urlsplit(text).scheme not in _SCHEMES or not urlsplit(text).hostname):
            raise ValueError("must be an address that begins with https:// or http://")
        return value

    @field_validator("mail_from", "mail_to")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        for one in filter(None, (part.strip() for part in value.split(","))):
            try:
                whole = bool(Address(addr_spec=one).domain)
            except Exception as error:
                raise ValueError("must be mail addresses such as ada@example.org") from error
            if not whole:
                raise ValueError("must be mail addresses such as ada@example.org")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Notify:
        if self.smtp_host and not (self.mail_from and self.recipients):
            raise ValueError(
                "HEADRACE_NOTIFY_SMTP_HOST needs HEADRACE_NOTIFY_MAIL_FROM and "
                "HEADRACE_NOTIFY_MAIL_TO"
            )
        if self.smtp_username and self.smtp_security == "none":
            raise ValueError(
                "a password is not sent in the open: set HEADRACE_NOTIFY_SMTP_SECURITY to "
                "starttls or tls"
            )
        return self


def configured() -> Notify:
    """The targets of the environment.

    Raises:
        NotifyError: one of them cannot be.
    """
    try:
        return Notify()
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = "".join(f"HEADRACE_NOTIFY_{str(step).upper()}: " for step in first["loc"])
        raise NotifyError(where + first["msg"].removeprefix("Value error, ")) from None
