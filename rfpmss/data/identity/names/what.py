"""Words for what is in a folder or file, which say nothing of whose it is."""

from __future__ import annotations

import re

from rfpmss.data.identity.names.times import END, START
from rfpmss.data.readers.sequences import describes

CONTRAST = re.compile(
    rf"{START}(?:pre|post)-?(?:contrast|con|gd|gad\w*|km|ce|proc\w*|c){END}"
    rf"|(?<![a-z])t1\w*-(?:pre|post){END}"
)

CONTENT = re.compile(
    r"(?:ct|cta|mri?|mrt|irm|rmn?|pet|mra|dcm|dicoms?|nifti|nii|images?|img|im|pics?|scans?|series"
    r"|serie|ser|se|stud(?:y|ies)|exams?|reports?|befunde?|bericht|texts?|txt|notes?|letters?|path"
    r"|pathology|histology|histo|slides?|wsi|segm?|segs?|segmentations?|masks?|labels?|annotations?"
    r"|data|files?|slice|run|echo|acq|vol|volume|frame|dx|t[12](?:c|ce|gd|w|wce|wi|n|f|map|km)?"
    r"|[saect]{1,2}t[12]\w*|flair\w*|ct1|ctv|roi|lesion|mask)\d{0,6}"
    r"|anat|func|fmap|perf|beh|imaging|svs|ndpi|tiffs?|tif|png|jpe?g|raw|rawdata|he|head|brain|kopf"
    r"|schadel|neuro|cerebr\w*|crane|cerebro|cerveau|hirn|nativ|native|plain|axial|ax|tra|trans\w*"
    r"|sagittal|sag|coronal|cor|tse|tfe|ffe|gre|se2?d|[23]d|iso|fs|fse|mp-?rage|mpr|spgr|bravo|space"
    r"|vibe|cube|vista|tirm|stir|dwi|adc|swi|swan|asl|dsc|dce|dti|perfusion|diffusion|tof|map|pd|bold"
    r"|fmri|darkfluid|gd|gado?\w*|km|ce|gadolinium|contrast|mit|ohne|with|without|and|w|wo|c|the|of|de|du|des|del|della|di|la|le|vom|von|der|am"
    r"|strip|stripped|skull|unstripped|bet|hd|n4|bias|corrected|preprocessed|processed|reg|registered"
    r"|registration|coreg\w*|norm\w*|resampled|atlas|mni\d*|sri24|structural|automated|manual|approx"
    r"|tumou?r|gtv\d?|core|edema|whole|enhancing|deepbratumia|glio|auto|output|results?|localizer"
    r"|scout|survey|bone|soft|kernel|window|thin|thick|x|zip|export|imagest[rs]|labelst[rs]|h&e|rgb"
    r"|t[12](?:star|post|pre|weighted)"
)
REPORT = (
    r"reports?|findings?|impressions?|results?|readings?|radiology|dictations?|notes?|letters?"
    r"|befunde?|befundberichte?|\w*berichte?|arztbriefe?|beurteilung|epikrise|radiologie"
    r"|compte|rendu|compterendu|conclusions?|rapports?|informes?|hallazgos?|refert[oi]"
    r"|relazione|laudos?|relatorios?|verslag(?:en)?|opisy?|wyniki?|nalez|zprava"
    r"|utlatande|svar|beskrivelse|lausunto|заключение|описание|протокол"
)
"""Words for a report in the names of files, as `plain` spells them."""
_REPORT = re.compile(rf"(?:{REPORT})\d?")
SHORT_REPORT = "cr"
"""Compte rendu: only at the end of a name with a number, elsewhere it may be initials."""
REPORT_CJK = (
    r"(?:影像|画像|영상|诊断|診断|診斷|読影|检查|檢查)*(?:报告|報告|レポート|판독|보고)[单單书書문지서]?"
    r"|所[见見]|소견서?|读片|読影|画像|영상|(?:诊断|診断|診斷)(?![时時前后後])|结果|結果|결과지?"
)
"""The same without spaces between words."""
CHINESE_CONTENT = re.compile(
    r"影像|图像|病理|切片|平扫|增强|磁共振|核磁|头颅|颅脑|检查|资料|数据|文本|扫描|序列"
    rf"|{REPORT_CJK}"
)
ENTITY = re.compile(
    rf"{START}(?:acq|run|ce|desc|space|rec|dir|echo|part|res|label|task|mod|inv|flip|mt|hemi|seg)"
    r"-[0-9a-z]+"
)
CHANNEL = re.compile(r"(?<=\d)-000\d$")
"""The channels of nnU-Net."""


def says_what(token: str) -> bool:
    """Whether a word says what is in a file, and not whose it is."""
    return bool(CONTENT.fullmatch(token) or _REPORT.fullmatch(token)) or describes(token)


def what(rest: str) -> bool:
    """Only words for what is in it."""
    return all(map(says_what, rest.split("-")))


MODALITY = re.compile(r"mri?|mrt|irm|rmn?|ct|pet|imaging|images?").fullmatch
