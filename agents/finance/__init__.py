"""The finance application: a reader of feeds, trends per ticker, alerts on negative bursts."""
