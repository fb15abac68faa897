"""All stages in a row: `wsi2dmamba run` from slides to the report, `wsi2dmamba predict` from slides to predictions."""
