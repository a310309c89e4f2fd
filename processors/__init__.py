"""The pure core: values in, values out.

A record flows one way, and the modules stand in that order:

    envelope → items → revisions → upserts → impacts → calendars → availability → spans

Nothing here imports boto3, the KCL, a clock or the environment, and nothing here imports `kcl_app` or
`emr_plugins`.
"""

__version__ = "0.1.0"
