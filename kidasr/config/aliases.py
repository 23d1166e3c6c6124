"""What people type from other tools, for "did you mean": a name, and the key or the choice that it is here."""

#: Compared in lower case and with ``_`` in place of ``-``.
ALIASES = {
    # run length and batches
    "epochs": "trainer.num_train_epochs",
    "num_epochs": "trainer.num_train_epochs",
    "n_epochs": "trainer.num_train_epochs",
    "max_epochs": "trainer.num_train_epochs",
    "train_epochs": "trainer.num_train_epochs",
    "steps": "trainer.max_steps",
    "num_steps": "trainer.max_steps",
    "num_train_steps": "trainer.max_steps",
    "max_train_steps": "trainer.max_steps",
    "train_steps": "trainer.max_steps",
    "batch_size": "trainer.train_batch_size",
    "batchsize": "trainer.train_batch_size",
    "bs": "trainer.train_batch_size",
    "per_device_train_batch_size": "trainer.train_batch_size",
    "per_device_batch_size": "trainer.train_batch_size",
    "eval_batch_size": "trainer.per_device_eval_batch_size",
    "max_duration": "trainer.max_batch_sec",
    "accumulation_steps": "trainer.gradient_accumulation_steps",
    "grad_accum": "trainer.gradient_accumulation_steps",
    "accumulate_grad_batches": "trainer.gradient_accumulation_steps",
    # optimizer and schedule
    "lr": "optim.learning_rate",
    "wd": "optim.weight_decay",
    "clip_grad": "optim.max_grad_norm",
    "grad_clip": "optim.max_grad_norm",
    "gradient_clip_val": "optim.max_grad_norm",
    "optimizer": "optim",
    "warmup": "schedule.warmup_steps",
    "num_warmup_steps": "schedule.warmup_steps",
    "warmup_ratio": "schedule.warmup_steps",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "lr_schedule": "schedule",
    # data and model
    "train": "data.train",
    "train_file": "data.train",
    "train_manifest": "data.train",
    "train_data": "data.train",
    "train_dir": "data.train",
    "dataset": "data.train",
    "dataset_name": "data.train",
    "val": "data.validation",
    "valid": "data.validation",
    "dev": "data.validation",
    "validation": "data.validation",
    "validation_file": "data.validation",
    "eval_file": "data.validation",
    "test": "data.test",
    "test_file": "data.test",
    "max_train_samples": "data.limit_train",
    "max_eval_samples": "data.limit_validation",
    "max_val_samples": "data.limit_validation",
    "max_predict_samples": "data.limit_test",
    "max_test_samples": "data.limit_test",
    "model_name": "model.name_or_path",
    "model_id": "model.name_or_path",
    "model_path": "model.name_or_path",
    "model_name_or_path": "model.name_or_path",
    "pretrained_model_name_or_path": "model.name_or_path",
    "lang": "model.language",
    # evaluations and checkpoints
    "eval_every": "checkpoint.eval_steps",
    "eval_interval": "checkpoint.eval_steps",
    "save_every": "checkpoint.save_steps",
    "log_every": "trainer.logging_steps",
    "early_stop": "early_stopping",
    "early_stopping_patience": "early_stopping.patience",
    # device and speed
    "device": "trainer=gpu",
    "gpu": "trainer=gpu",
    "cuda": "trainer=gpu",
    "no_cuda": "trainer=cpu",
    "cpu": "trainer=cpu",
    "gpus": "trainer.num_processes",
    "num_gpus": "trainer.num_processes",
    "devices": "trainer.num_processes",
    "nproc_per_node": "trainer.num_processes",
    "workers": "trainer.dataloader_num_workers",
    "num_workers": "trainer.dataloader_num_workers",
    "gradient_checkpointing": "trainer.activation_checkpointing",
    "amp": "trainer.bf16",
    # decoding
    "num_beams": "trainer.generation_num_beams",
    "beam_size": "trainer.generation_num_beams",
    # hypotheses
    "freeze_encoder": "freeze=encoder_1000",
    "spec_augment": "augment=specaugment",
    "specaugment": "augment=specaugment",
    "lora": "adapter=lora",
    "use_lora": "adapter=lora",
    "lora_r": "adapter.r",
    "lora_alpha": "adapter.alpha",
    # the names that transformers has too, for which a flag is typed
    **{
        key: f"{group}.{key}"
        for group, keys in {
            "trainer": "max_steps num_train_epochs train_batch_size per_device_eval_batch_size gradient_accumulation_steps "
            "dataloader_num_workers logging_steps bf16 fp16 tf32 torch_compile",
            "optim": "learning_rate weight_decay max_grad_norm",
            "schedule": "warmup_steps lr_scheduler_type",
            "checkpoint": "eval_steps save_steps save_total_limit",
            "model": "language task",
        }.items()
        for key in keys.split()
    },
    # the run
    "random_seed": "seed",
    "output_dir": "hydra.run.dir",
    "out_dir": "hydra.run.dir",
    "run_dir": "hydra.run.dir",
    "output": "hydra.run.dir",
    "resume_from_checkpoint": "resume",
    "overwrite_output_dir": "overwrite",
    "use_wandb": "logger=wandb",
    "wandb": "logger=wandb",
    "wandb_project": "logger.project",
    "report_to": "logger",
}


def alias_of(name: str) -> str | None:
    """The key or choice of kidasr that a name of another tool stands for; None if it is not known."""
    return ALIASES.get(name.lower().replace("-", "_"))
