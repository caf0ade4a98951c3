bucket_para = [
    {"src_bucket": "logs-b", "src_prefix": "", "des_bucket": "archive", "des_prefix": ""},
    {"src_bucket": "logs-z", "src_prefix": "", "des_bucket": "archive-z", "des_prefix": "z"},
]
StorageClass = 'STANDARD'
