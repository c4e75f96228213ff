"""The LightningModule, its inner loop, schedules, the synthetic set and how it starts."""
