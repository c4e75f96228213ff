"""The LightningModule, its inner loop, schedules, the synthetic set and its initialization."""
